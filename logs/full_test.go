package logs_test

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/dynod/dynod/logs"
	"github.com/dynod/dynod/test/root"
)

// TestFullDisk fills the file system under the spool while a dyno writes: it is never blocked, every byte arrives or
// is counted, and when there is room again its output is kept again.
func TestFullDisk(t *testing.T) {
	root.Needed(t)
	disk := t.TempDir()
	if err := unix.Mount("tmpfs", disk, "tmpfs", 0, "size=2m"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(disk, 0); err != nil {
			t.Errorf("unmount: %v", err)
		}
	})
	r := newReceiver(t)
	h := newHost(t, r, func(c *logs.Config) { c.SpoolDir = disk + "/spool" })
	id := newID()
	p := h.open(id)
	ballast := disk + "/ballast"
	var written int64
	say := func(lines int) {
		for i := range lines {
			line := fmt.Sprintf("line %06d %s\n", i, strings.Repeat("x", 86))
			write(t, p.Stdout, line)
			written += int64(len(line))
		}
	}
	say(100)
	if err := r.reach(h.ctx(), written); err != nil {
		t.Fatal(err)
	}
	fill(t, ballast)
	say(20_000)
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	say(1000)
	h.over(id, p)
	got := r.of(id, logs.Stdout)
	if got.lost == 0 || got.lost+int64(len(got.bytes)) != written {
		t.Errorf("received %d and lost %d of %d", len(got.bytes), got.lost, written)
	}
	t.Logf("received %d and lost %d of %d", len(got.bytes), got.lost, written)
}

func fill(t *testing.T, path string) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for buf := make([]byte, 4096); err == nil; {
		_, err = f.Write(buf)
	}
}
