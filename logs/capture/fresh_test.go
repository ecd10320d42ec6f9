package capture_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/uuid"
	"golang.org/x/sys/unix"

	"github.com/dynod/dynod/logs/capture"
	"github.com/dynod/dynod/logs/spool"
)

// TestKilledBeforeTheFirstByte: what an older life did not finish ends when a new one begins, not with its first byte; for a dyno's
// first life nothing is marked.
func TestKilledBeforeTheFirstByte(t *testing.T) {
	m := newManager(t)
	cfg := configured(t, func(c *capture.Config) { c.NotifySocket = m.socket })
	id, first := uuid.NewString(), uuid.NewString()
	if err := errors.Join(os.Mkdir(cfg.SpoolDir, 0o700), spool.Begin(cfg.SpoolDir)); err != nil {
		t.Fatal(err)
	}
	w, err := spool.OpenWriter(filepath.Join(cfg.SpoolDir, id), spool.Stdout, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(w.Append([]byte("unfinished"), time.Now()), w.Close()); err != nil {
		t.Fatal(err)
	}
	p := spawn(t, cfg, m)
	c, _ := p.dial()
	a, b := begin(t, c, first)
	out, errs := begin(t, c, id)
	t.Cleanup(func() { _, _ = unix.Close(a), unix.Close(b) })
	waitFor(t, "the older life's end", func() bool { return readStream(t, cfg.SpoolDir, id, spool.Stdout).ends == 1 })
	if got := readStream(t, cfg.SpoolDir, first, spool.Stdout); got.ends != 0 {
		t.Errorf("%d ends of a first life", got.ends)
	}
	p.kill()
	p = spawn(t, cfg, m)
	c, _ = p.dial()
	if _, err := unix.Write(out, []byte("new\n")); err != nil {
		t.Fatal(err)
	}
	_, _ = unix.Close(out), unix.Close(errs)
	over(t, c, id)
	if got := readStream(t, cfg.SpoolDir, id, spool.Stdout); string(got.data) != "unfinishednew\n" || got.ends != 2 {
		t.Errorf("%q with %d ends", got.data, got.ends)
	}
}
