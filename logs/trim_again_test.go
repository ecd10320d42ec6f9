package logs_test

import (
	"errors"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dynod/dynod/logs"
	"github.com/dynod/dynod/logs/spool"
	"github.com/dynod/dynod/test/root"
)

// TestTrimAgain has a spool that cannot be trimmed when its lines are delivered, but later.
func TestTrimAgain(t *testing.T) {
	root.Needed(t)
	r := newReceiver(t)
	h := newHost(t, r, func(c *logs.Config) { c.SpoolBytes, c.KeepBytes = 4<<20, 1 })
	var closed atomic.Bool
	closed.Store(true)
	r.before = func(logs.Batch) error {
		if closed.Load() {
			return errors.New("not yet")
		}
		return nil
	}
	id := newID()
	p := h.open(id)
	for range 2 << 10 {
		write(t, p.Stdout, strings.Repeat("x", 1023)+"\n")
	}
	p.Close()
	if err := h.Drained(h.ctx(), id); err != nil {
		t.Fatal(err)
	}
	dir := spool.Dir(filepath.Join(h.cfg.SpoolDir, id), logs.Stdout)
	if err := errors.Join(unix.Mount(dir, dir, "", unix.MS_BIND, ""),
		unix.Mount("", dir, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, "")); err != nil {
		t.Fatal(err)
	}
	mend := sync.OnceValue(func() error { return unix.Unmount(dir, unix.MNT_DETACH) })
	t.Cleanup(func() { _ = mend() })
	closed.Store(false)
	if err := h.Shipped(h.ctx(), id); err != nil {
		t.Fatal(err)
	}
	time.Sleep(2500 * time.Millisecond) // two times that it is tried
	if err := mend(); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(20 * time.Second); diskUsage(t, h.cfg.SpoolDir) > 512<<10; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d bytes stay", diskUsage(t, h.cfg.SpoolDir))
		}
	}
}
