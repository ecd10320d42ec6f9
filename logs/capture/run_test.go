package capture_test

import (
	"path/filepath"
	"testing"

	"github.com/google/uuid"
	"golang.org/x/sys/unix"

	"github.com/dynod/dynod/logs/capture"
	"github.com/dynod/dynod/logs/spool"
)

// TestFullRunDirectory: capture begins, and takes what dynos say, where its socket's file system has room for names alone.
func TestFullRunDirectory(t *testing.T) {
	run := tmpfs(t, "size=64k")
	run.fill()
	s := start(t, capture.Config{Socket: filepath.Join(run.dir, "capture.sock")})
	c, changes := s.dial()
	id := uuid.NewString()
	out, errs := begin(t, c, id)
	defer func() { _, _ = unix.Close(out), unix.Close(errs) }()
	if _, err := unix.Write(out, []byte("hello\n")); err != nil {
		t.Fatal(err)
	}
	until(t, changes, func(e capture.Entry) bool { return e.ID == id && e.Stream == spool.Stdout && e.End == 6 })
}
