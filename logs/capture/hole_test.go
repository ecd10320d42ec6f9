package capture_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dynod/dynod/logs/capture"
	"github.com/dynod/dynod/logs/spool"
)

// TestKilledInsideHole stands where a kill may stop capture: bytes are moved, but not looked at yet.
func TestKilledInsideHole(t *testing.T) {
	path := filepath.Join(t.TempDir(), "hole")
	since := time.Unix(1, 2)
	h, err := capture.MakeHole(path, spool.Lost{From: 1000, Since: since})
	if err != nil {
		t.Fatal(err)
	}
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	defer func() { _, _ = unix.Close(fds[0]), unix.Close(fds[1]) }()
	if _, err := unix.Write(fds[1], []byte("one\ntwo\nthr")); err != nil {
		t.Fatal(err)
	}
	if n, err := h.Take(fds[0], 100); n != 11 || h.Lines != 2 || err != nil {
		t.Fatalf("took %d bytes, %d lines, %v", n, h.Lines, err)
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_APPEND, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString("ee\nfour\n"); err != nil { // as the kernel does in splice(2)
		t.Fatal(err)
	}
	_ = f.Close()
	found, err := capture.LoadHole(path)
	if err != nil {
		t.Fatal(err)
	}
	if found.Lost != (spool.Lost{From: 1000, Lines: 4, Since: since}) || found.End() != 1019 {
		t.Errorf("found %+v up to %d", found.Lost, found.End())
	}
}

// TestHoleFindsItsPlace after a kill at any moment: in a stream of 100 bytes in the spool.
func TestHoleFindsItsPlace(t *testing.T) {
	for name, c := range map[string]struct {
		from, size, staged int64
		want               int64 // where it begins; -1: it is counted already
	}{
		"where the spool ends":              {100, 20, 0, 100},
		"behind the stage":                  {130, 20, 30, 130},
		"nobody knew where":                 {-1, 20, 30, 130},
		"nobody knew where, nothing staged": {-1, 20, 0, 100},
		"counted":                           {70, 30, 0, -1},
		"counted in part":                   {70, 40, 0, 70},
		"nothing discarded":                 {130, 0, 30, -1},
		"the stage was to be discarded":     {100, 20, 30, 130},
		"the stage was discarded":           {100, 50, 0, 100},
		"the stage was discarded in part":   {100, 40, 10, 110},
		"the spool vanished":                {500, 20, 0, 500},
	} {
		h, err := capture.MakeHole(filepath.Join(t.TempDir(), "hole"), spool.Lost{From: c.from})
		if err != nil {
			t.Fatal(err)
		}
		got := int64(-1)
		if h.Resume(c.size, 100, c.staged) {
			got = h.From
		}
		if got != c.want {
			t.Errorf("%s: begins at %d, want %d", name, got, c.want)
		}
		h.Remove()
	}
}

func FuzzLoadHole(f *testing.F) {
	path := filepath.Join(f.TempDir(), "hole")
	if _, err := capture.MakeHole(path, spool.Lost{From: 5, Since: time.Unix(1, 2)}); err != nil {
		f.Fatal(err)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add(append(append(b, make([]byte, 4096-len(b))...), "a\nb\n"...))
	f.Fuzz(func(t *testing.T, b []byte) {
		path := filepath.Join(t.TempDir(), "hole")
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		h, err := capture.LoadHole(path)
		defer h.Remove()
		if err == nil && (h.From < -1 || h.Lines < 0 || h.End() < h.From || h.Lines > h.End()-h.From) {
			t.Errorf("%x is a hole %+v up to %d", b, h.Lost, h.End())
		}
	})
}

func FuzzParseKey(f *testing.F) {
	f.Add("01234567-89ab-cdef-0123-456789abcdef.out")
	f.Add("dynod-capture.socket")
	f.Fuzz(func(t *testing.T, name string) {
		if again, ok := capture.KeyName(name); ok && again != name {
			t.Errorf("%q is %q", name, again)
		}
	})
}
