package logs_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"

	"github.com/dynod/dynod/logs"
	"github.com/dynod/dynod/test/root"
)

// TestFullDisk fills the file system under the spool while a dyno writes: it is never blocked, every byte arrives or
// is counted, and when there is room again its output is kept again.
func TestFullDisk(t *testing.T) {
	disk := smallDisk(t)
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

// smallDisk is a file system of 2 MiB.
func smallDisk(t *testing.T) string {
	t.Helper()
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
	return disk
}

// TestFullDiskAndPlatformLines has the disk take a part of a platform line, and then nothing: what is missing is told at its
// place, and when there is room again no line is garbled.
func TestFullDiskAndPlatformLines(t *testing.T) {
	for name, restart := range map[string]bool{"the agent lives": false, "the agent restarts": true} {
		t.Run(name, func(t *testing.T) {
			disk := smallDisk(t)
			r := newReceiver(t)
			h := newHost(t, r, func(c *logs.Config) { c.SpoolDir = disk + "/spool" })
			id := newID()
			said, refused, lines := h.sayUntilFull(id, disk+"/ballast")
			if restart {
				h.end()
				h.begin()
			}
			for _, text := range []string{"short", "and the last one"} {
				if err := h.Platform(h.ctx(), id, time.Now(), text); err != nil {
					t.Fatal(err)
				}
				said += int64(len(text)) + 1
			}
			h.over(id, logs.Pipes{})
			got := r.of(id, logs.Platform)
			if sum := int64(len(got.bytes)) + got.lost; sum != said {
				t.Errorf("received %d and lost %d of %d bytes", len(got.bytes), got.lost, said)
			}
			var lost, parts int64
			for _, l := range got.lines {
				lost += l.LostLines
				switch text := string(l.Text); {
				case l.Size == 0, text == "short", text == "and the last one", text == string(platformLine):
				case text == string(platformLine[:len(text)]):
					parts++
				default:
					t.Errorf("garbled: %q", text)
				}
			}
			if lost != refused || refused == 0 || parts != 1 {
				t.Errorf("%d of %d refused lines are told, %d lines are there in part", lost, refused, parts)
			}
			t.Logf("%d lines, of which %d were refused and %d bytes lost", lines, refused, got.lost)
		})
	}
}

var platformLine = bytes.Repeat([]byte("p"), 100)

// sayUntilFull writes platform lines onto a disk that is full but for a part of a page, and some more; then there is room.
func (h *host) sayUntilFull(id, ballast string) (bytes, refused int64, lines int) {
	for lines < 100 {
		if lines == 20 {
			fill(h.t, ballast)
		}
		if err := h.Platform(h.ctx(), id, time.Now(), string(platformLine)); err != nil {
			refused++
		}
		lines++
		bytes += int64(len(platformLine)) + 1
	}
	makeRoom(h.t, ballast)
	return bytes, refused, lines
}

// makeRoom takes the ballast away and returns when that is felt.
func makeRoom(t testing.TB, ballast string) {
	t.Helper()
	_ = os.Remove(ballast)
	for end := time.Now().Add(20 * time.Second); os.WriteFile(ballast, make([]byte, 256<<10), 0o600) != nil; {
		if time.Now().After(end) {
			t.Fatal("no room")
		}
	}
	_ = os.Remove(ballast)
}

// TestLastPlatformLineMissing: what the disk refused at the end of a dyno is told as well.
func TestLastPlatformLineMissing(t *testing.T) {
	disk := smallDisk(t)
	r := newReceiver(t)
	h := newHost(t, r, func(c *logs.Config) { c.SpoolDir = disk + "/spool" })
	id := newID()
	said, refused, _ := h.sayUntilFull(id, disk+"/ballast")
	h.over(id, logs.Pipes{})
	got := r.of(id, logs.Platform)
	if sum := int64(len(got.bytes)) + got.lost; sum != said || refused == 0 {
		t.Errorf("received %d and lost %d of %d bytes, %d lines were refused", len(got.bytes), got.lost, said, refused)
	}
}

// TestPlatformLinesAreBounded has an upstream that takes nothing: what waits of the platform's lines stays in its part of the
// bound, what is more is told.
func TestPlatformLinesAreBounded(t *testing.T) {
	const bound = 64 << 10
	r := newReceiver(t)
	var open atomic.Bool
	r.before = func(logs.Batch) error {
		if open.Load() {
			return nil
		}
		return errors.New("not now")
	}
	h := newHost(t, r, func(c *logs.Config) { c.SpoolBytes = bound })
	id := newID()
	const lines = 500
	var refused int64
	for range lines {
		err := h.Platform(h.ctx(), id, time.Now(), string(platformLine))
		if err != nil && !errdefs.IsResourceExhausted(err) {
			t.Fatal(err)
		}
		if err != nil {
			refused++
		}
	}
	if b := h.Backlog().Bytes; b > bound/8 {
		t.Errorf("%d bytes wait", b)
	}
	open.Store(true)
	h.over(id, logs.Pipes{})
	got := r.of(id, logs.Platform)
	var lost int64
	for _, l := range got.lines {
		lost += l.LostLines
	}
	if refused == 0 || lost != refused || int64(len(got.bytes))+got.lost != lines*101 {
		t.Errorf("%d refused, %d told; received %d bytes and lost %d", refused, lost, len(got.bytes), got.lost)
	}
}

func fill(t testing.TB, path string) {
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
