package spool_test

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/containerd/errdefs"

	"github.com/dynod/dynod/logs/spool"
)

func TestProgress(t *testing.T) {
	dir := t.TempDir()
	if _, err := spool.LoadProgress(dir, 1); !os.IsNotExist(err) {
		t.Errorf("no file: %v", err)
	}
	first := spool.Progress{Cursor: spool.Cursor{spool.Stdout: 1, spool.Platform: 1 << 50}, Dropped: spool.Loss{Lines: 3, Since: noon}}
	second := spool.Progress{Lost: spool.Loss{Lines: 1 << 40, Since: noon.Add(time.Nanosecond)}}
	must(t, first.Store(dir, 1))
	must(t, second.Store(dir, 2))
	for n, want := range map[int]spool.Progress{1: first, 2: second} {
		if got, err := spool.LoadProgress(dir, n); err != nil || got != want {
			t.Errorf("got %+v, %v, want %+v", got, err, want)
		}
	}
	path := filepath.Join(dir, "cursor-1")
	b, err := os.ReadFile(path)
	must(t, err)
	for i := range b {
		damaged := slices.Clone(b)
		damaged[i] ^= 1
		must(t, os.WriteFile(path, damaged, 0o600))
		if got, err := spool.LoadProgress(dir, 1); !errdefs.IsDataLoss(err) {
			t.Errorf("%q gives %+v, %v", damaged, got, err)
		}
	}
}

func TestLossPlus(t *testing.T) {
	none, early, late := spool.Loss{}, spool.Loss{Lines: 1, Since: noon}, spool.Loss{Lines: 2, Since: noon.Add(1)}
	for _, c := range []struct{ a, b, want spool.Loss }{
		{none, none, none},
		{none, late, late},
		{early, none, early},
		{early, late, spool.Loss{Lines: 3, Since: noon}},
		{late, early, spool.Loss{Lines: 3, Since: noon}},
	} {
		if got := c.a.Plus(c.b); got != c.want {
			t.Errorf("%+v and %+v are %+v", c.a, c.b, got)
		}
	}
}

// TestTailRespectsEveryReceiver: a position that any receiver has is given to no other byte.
func TestTailRespectsEveryReceiver(t *testing.T) {
	dir := t.TempDir()
	must(t, spool.Cursor{spool.Stdout: 5}.Store(dir))
	must(t, spool.Progress{Cursor: spool.Cursor{spool.Stdout: 3}}.Store(dir, 1))
	must(t, spool.Progress{Cursor: spool.Cursor{spool.Stdout: 9}}.Store(dir, 2))
	if tail, err := spool.Tail(dir, spool.Stdout); err != nil || tail != 9 {
		t.Errorf("tail %d, %v", tail, err)
	}
}

func TestOldest(t *testing.T) {
	dir := t.TempDir()
	w := openWriter(t, dir, 10)
	for range 10 {
		must(t, w.Append([]byte("0123456789"), noon))
	}
	for _, step := range []struct{ cursor, size, want int64 }{
		{100, 0, 0}, {100, 1, 10}, {100, 35, 40}, {55, 100, 50}, {9, 100, 0}, {100, 1000, 90},
	} {
		got, err := spool.Oldest(dir, spool.Cursor{spool.Stdout: step.cursor}, step.size)
		if err != nil || got[spool.Stdout] != step.want || got[spool.Stderr] != 0 {
			t.Errorf("%+v: %v, %v", step, got, err)
		}
	}
}

func FuzzParseProgress(f *testing.F) {
	f.Add([]byte("receiver 1 10 20 30 1 2 3 4 00000000\n"))
	f.Add([]byte(spool.EncodeProgress(spool.Progress{Cursor: spool.Cursor{spool.Stderr: 7}, Lost: spool.Loss{Lines: 1, Since: noon}})))
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := spool.ParseProgress(b)
		if err != nil {
			return
		}
		if p.Dropped.Lines < 0 || p.Lost.Lines < 0 || p.Cursor[spool.Stdout] < 0 || spool.EncodeProgress(p) != string(b) {
			t.Errorf("%q parsed as %+v", b, p)
		}
	})
}
