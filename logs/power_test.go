package logs_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dynod/dynod/logs"
	"github.com/dynod/dynod/logs/spool"
	"github.com/dynod/dynod/test/root"
)

// TestPowerCut copies what the disk under a spool has, as a power cut would leave it, and goes on with the copy. What was
// said a while ago is there. What was not written yet is told as missing, and no new byte gets the position of one that
// the receiver has.
func TestPowerCut(t *testing.T) {
	root.Needed(t)
	work := t.TempDir()
	image := filepath.Join(work, "image")
	shell(t, "truncate", "-s", "24M", image)
	shell(t, "mkfs.ext4", "-q", "-F", image)
	r := newReceiver(t)
	h := newHost(t, r, func(c *logs.Config) { c.SpoolDir, c.SpoolBytes = mount(t, image, "before"), 4<<20 })
	id := newID()
	kept := filepath.Join(work, "copy")
	if err := h.Platform(h.ctx(), id, time.Now(), "said once"); err != nil {
		t.Fatal(err)
	}
	copyWith(t, image, kept, id, logs.Platform, 10)
	p := h.open(id)
	said := numberedLines(0, 1000)
	write(t, p.Stdout, said)
	if err := r.reach(h.ctx(), int64(len(said)+10)); err != nil {
		t.Fatal(err)
	}
	copyWith(t, image, kept, id, logs.Stdout, int64(len(said)))
	more := numberedLines(1000, 1000)
	write(t, p.Stdout, more)
	if err := r.reach(h.ctx(), int64(len(said)+len(more)+10)); err != nil {
		t.Fatal(err)
	}
	h.end() // the present ends here; the copy knows nothing of it
	h.kill(h.capturePid())
	p.Close()

	h.cfg.SpoolDir = mount(t, kept, "after")
	boots, err := filepath.Glob(h.cfg.SpoolDir + "/boot-*")
	if err != nil || len(boots) != 1 {
		t.Fatalf("%q, %v", boots, err)
	}
	if err := os.Rename(boots[0], h.cfg.SpoolDir+"/boot-of-before"); err != nil {
		t.Fatal(err)
	}
	h.cfg.Capture[3] = h.cfg.SpoolDir
	r.unsure = true
	h.begin()
	if b := h.Backlog(); b.Bytes > int64(len(said)+len(more)) {
		t.Errorf("%d bytes wait for delivery", b.Bytes)
	}
	p = h.open(id)
	write(t, p.Stdout, "after it\n")
	h.over(id, p)
	got := r.of(id, logs.Stdout)
	if string(got.bytes) != said+more+"after it\n" {
		t.Errorf("received %d bytes that are not what was said", len(got.bytes))
	}
	if last := got.lines[len(got.lines)-1]; got.lost == 0 || last.Lost > 0 && last.LostLines > 0 {
		t.Errorf("told %d bytes as lost, at last %d with %d lines", got.lost, last.Lost, last.LostLines)
	}
}

func numberedLines(from, n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "line %06d of a dyno\n", from+i)
	}
	return b.String()
}

// copyWith copies an image as soon as it has so many bytes of a stream. The kernel by itself would write them after half a
// minute.
func copyWith(t *testing.T, image, to, id string, s logs.Stream, size int64) {
	t.Helper()
	for end := time.Now().Add(15 * time.Second); ; time.Sleep(500 * time.Millisecond) {
		shell(t, "cp", "--sparse=always", image, to)
		look := to + ".look"
		shell(t, "cp", "--sparse=always", to, look)
		dir := mount(t, look, "look")
		there, err := spool.Present(filepath.Join(dir, id), s, 0)
		if err := errors.Join(err, unix.Unmount(dir, 0)); err != nil {
			t.Fatal(err)
		}
		if there == size {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("%s: %d bytes of %d are on disk", s, there, size)
		}
	}
}

// mount gives a directory with what is in an image.
func mount(t *testing.T, image, name string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), name)
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	shell(t, "mount", "-o", "loop", image, dir)
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
	return dir
}

func shell(t *testing.T, name string, args ...string) {
	t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %v: %v: %s", name, args, err, out)
	}
}
