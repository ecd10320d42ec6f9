package logs_test

import (
	"bytes"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/dynod/dynod/logs"
	"github.com/dynod/dynod/test/lab"
)

// TestCaptureKilledWhileItsDiskHangs: the dead cannot die before its write returns. Another one reads the dyno's pipe
// meanwhile, and nothing is lost without a count.
func TestCaptureKilledWhileItsDiskHangs(t *testing.T) {
	disk := lab.NewHanging(t)
	r := newReceiver(t)
	h := newHost(t, r, func(c *logs.Config) { c.SpoolDir = filepath.Join(disk.Dir, "spool") })
	id := newID()
	p := h.open(id)
	line := bytes.Repeat([]byte("x"), 99)
	line = append(line, '\n')
	disk.Shut()
	t.Cleanup(disk.Open)
	write(t, p.Stdout, string(line))
	disk.Hangs()
	if err := syscall.Kill(h.capturePid(), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	const lines = 40_000 // more than pipes hold
	written := make(chan struct{})
	go func() {
		defer close(written)
		write(t, p.Stdout, string(bytes.Repeat(line, lines)))
	}()
	select {
	case <-written:
	case <-time.After(40 * time.Second):
		t.Fatal("nobody reads the pipe")
	}
	disk.Open()
	h.over(id, p)
	got := r.of(id, logs.Stdout)
	if sum := int64(len(got.bytes)) + got.lost; sum != (lines+1)*int64(len(line)) || got.lost == 0 || len(got.bytes) == 0 {
		t.Errorf("received %d bytes and lost %d", len(got.bytes), got.lost)
	}
}
