package capture_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/uuid"
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

// TestKilledWhileStageIsDiscarded stands where a kill may stop capture too: a part of the stage is in the hole. What is left
// of it comes after that part, so it goes as well.
func TestKilledWhileStageIsDiscarded(t *testing.T) {
	cfg := configured(t, nil)
	id := uuid.NewString()
	holes := filepath.Join(filepath.Dir(cfg.Socket), "holes")
	if err := os.Mkdir(holes, 0o700); err != nil {
		t.Fatal(err)
	}
	h, err := capture.MakeHole(filepath.Join(holes, id+".out"), spool.Lost{From: 0, Since: time.Now()})
	if err != nil {
		t.Fatal(err)
	}
	var pipe [2]int
	if err := unix.Pipe2(pipe[:], unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	stage, err := capture.NewStage()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _, _ = unix.Close(pipe[0]), unix.Close(stage) }()
	for fd, text := range map[int]string{stage: "a part\nwhat is left\n", pipe[1]: "in the pipe\n"} {
		if _, err := unix.Write(fd, []byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	h.Tear()
	if n, err := h.Take(stage, int64(len("a part\n"))); n != 7 || err != nil {
		t.Fatalf("took %d bytes, %v", n, err)
	}
	p := spawn(t, cfg, nil)
	c, _ := p.dial()
	out := capture.Mask(0).With(spool.Stdout)
	if _, _, err := do(t, c, capture.Message{Kind: capture.Restore, ID: id, Mask: out}, pipe[0], stage); err != nil {
		t.Fatal(err)
	}
	_ = unix.Close(pipe[1])
	over(t, c, id)
	r := spool.NewReader(spool.Dir(filepath.Join(cfg.SpoolDir, id), spool.Stdout), 0)
	defer r.Close()
	if first, err := r.Next(make([]byte, 100)); err != nil || first.Lost != 20 || first.Lines != 2 {
		t.Errorf("the stream begins with %+v, %v", first, err)
	}
	if got := readStream(t, cfg.SpoolDir, id, spool.Stdout); string(got.data) != "in the pipe\n" || got.lost != 20 || got.ends != 1 {
		t.Errorf("%q, %d bytes lost, %d ends", got.data, got.lost, got.ends)
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
		"the stage was discarded":           {100, 50, 0, 100},
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
