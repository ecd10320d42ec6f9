package spool_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dynod/dynod/logs/spool"
)

// gaps gives the gaps of a stream from its beginning.
func gaps(t *testing.T, dir string) (all []spool.Piece) {
	t.Helper()
	r := reader(t, dir, 0)
	buf := make([]byte, 1000)
	for {
		p, err := r.Next(buf)
		if errors.Is(err, io.EOF) {
			return all
		}
		must(t, err)
		if p.Kind == spool.Gap {
			all = append(all, p)
		}
	}
}

func expectGap(t *testing.T, dir string, want spool.Piece) {
	t.Helper()
	want.Kind = spool.Gap
	got := gaps(t, dir)
	if len(got) != 1 || got[0].Offset != want.Offset || got[0].Lost != want.Lost || got[0].Lines != want.Lines ||
		!got[0].Since.Equal(want.Since) {
		t.Errorf("gaps %+v, want %+v", got, want)
	}
}

func TestGapTellsLinesAndSince(t *testing.T) {
	dir := t.TempDir()
	w := openWriter(t, dir, 1000)
	must(t, w.Append([]byte("kept"), noon))
	w.Drop(100, 3, noon.Add(time.Second))
	w.Drop(50, 2, noon.Add(2*time.Second))
	if w.Settled() {
		t.Error("settled before there is a name")
	}
	must(t, w.Append([]byte("kept too"), noon))
	if !w.Settled() {
		t.Error("not settled although the next byte is there")
	}
	expectGap(t, dir, spool.Piece{Offset: 4, Lost: 150, Lines: 5, Since: noon.Add(time.Second)})
}

// TestHoleOverRestarts closes the writer inside a hole: the parts add up.
func TestHoleOverRestarts(t *testing.T) {
	dir := t.TempDir()
	w := openWriter(t, dir, 1000)
	must(t, w.Append([]byte("kept"), noon))
	for i := range 3 {
		w = openWriter(t, dir, 1000)
		if want := int64(4 + 10*i); w.Offset() != want {
			t.Fatalf("offset %d, want %d", w.Offset(), want)
		}
		w.Drop(10, 2, noon.Add(time.Duration(i)*time.Second))
		must(t, w.Close())
	}
	must(t, spool.Seal(dir, spool.Stdout))
	expectGap(t, dir, spool.Piece{Offset: 4, Lost: 30, Lines: 6, Since: noon})
}

// TestReopenedHole counts a hole again that a killed writer had counted already.
func TestReopenedHole(t *testing.T) {
	dir := t.TempDir()
	w := openWriter(t, dir, 1000)
	must(t, w.Append([]byte("kept"), noon))
	w.Drop(10, 2, noon)
	must(t, w.Close())
	w = openWriter(t, dir, 1000)
	w.Skip(spool.Lost{From: 4, Lines: 2, Since: noon}, 14)
	w.Drop(10, 2, noon.Add(time.Second))
	must(t, w.Append([]byte("kept too"), noon))
	expectGap(t, dir, spool.Piece{Offset: 4, Lost: 20, Lines: 4, Since: noon})
}

// TestDamagedLoss: the bytes are exact by the names, the lines unknown.
func TestDamagedLoss(t *testing.T) {
	dir := t.TempDir()
	w := openWriter(t, dir, 1000)
	w.Drop(10, 2, noon)
	must(t, w.End())
	path := filepath.Join(spool.Dir(dir, spool.Stdout), spool.FileName(10, ".lost"))
	b, err := os.ReadFile(path)
	must(t, err)
	b[9] ^= 1
	must(t, os.WriteFile(path, b, 0o600))
	expectGap(t, dir, spool.Piece{Lost: 10})
}

// TestSpoolGone removes the directories under a writer: what was in them is a gap, and it goes on.
func TestSpoolGone(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "dyno")
	w := openWriter(t, dir, 1000)
	must(t, w.Append([]byte("gone"), noon))
	must(t, os.RemoveAll(dir))
	must(t, w.Append([]byte("kept"), noon))
	expect(t, walk(t, reader(t, dir, 0)), "0 gap 4", `4 "kept"`)
}

// TestLinkedDirectory puts links where directories of ours should be: nobody goes through them.
func TestLinkedDirectory(t *testing.T) {
	for _, linked := range []string{"dyno", "dyno/out"} {
		root := t.TempDir()
		other := filepath.Join(root, "other")
		w, err := spool.OpenWriter(other, spool.Stdout, 1000)
		must(t, err)
		must(t, errors.Join(w.Append([]byte("secret"), noon), w.Close()))
		must(t, os.MkdirAll(filepath.Dir(filepath.Join(root, linked)), 0o700))
		must(t, os.Symlink(filepath.Join(other, linked[4:]), filepath.Join(root, linked)))
		dyno := filepath.Join(root, "dyno")
		expect(t, walk(t, reader(t, dyno, 0)))
		w, err = spool.OpenWriter(dyno, spool.Stdout, 1000)
		must(t, err)
		must(t, errors.Join(w.Append([]byte("ours"), noon), w.Close()))
		expect(t, walk(t, reader(t, dyno, 0)), `0 "ours"`)
		expect(t, walk(t, reader(t, other, 0)), `0 "secret"`)
	}
}

// TestUnwritableEnd: an end that cannot be marked is marked before the next byte.
func TestUnwritableEnd(t *testing.T) {
	dyno := filepath.Join(t.TempDir(), "root", "dyno")
	must(t, os.Mkdir(filepath.Dir(dyno), 0o700))
	w := openWriter(t, dyno, 1000)
	must(t, w.Append([]byte("gone"), noon))
	root := filepath.Dir(dyno)
	must(t, os.RemoveAll(root))
	must(t, os.WriteFile(root, nil, 0o600)) // nothing can be made below a file
	w.Drop(2, 1, noon)
	if err := w.End(); err == nil || w.Settled() {
		t.Fatalf("end: %v", err)
	}
	w.Drop(3, 0, noon)
	if err := w.Append([]byte("x"), noon); err == nil {
		t.Fatal("bytes were taken")
	}
	must(t, os.Remove(root))
	must(t, os.Mkdir(root, 0o700))
	must(t, w.Append([]byte("kept"), noon))
	expect(t, walk(t, reader(t, dyno, 0)), "0 gap 6", "6 end", "6 gap 4", `10 "kept"`)
}

// TestLostHasItsTextAtOnce: whoever sees the name finds the text.
func TestLostHasItsTextAtOnce(t *testing.T) {
	dir := t.TempDir()
	w := openWriter(t, dir, 100)
	must(t, w.Append([]byte("kept"), noon))
	seen, err := unix.InotifyInit1(unix.IN_NONBLOCK | unix.IN_CLOEXEC)
	must(t, err)
	defer unix.Close(seen)
	_, err = unix.InotifyAddWatch(seen, spool.Dir(dir, spool.Stdout), unix.IN_CREATE|unix.IN_MOVED_TO)
	must(t, err)
	w.Skip(spool.Lost{From: 4, Lines: 2, Since: noon}, 10)
	must(t, w.Close())
	b := make([]byte, 4096)
	n, err := unix.Read(seen, b)
	must(t, err)
	var moved bool
	for b = b[:n]; len(b) >= unix.SizeofInotifyEvent; {
		mask, size := binary.NativeEndian.Uint32(b[4:]), binary.NativeEndian.Uint32(b[12:])
		name := string(bytes.TrimRight(b[unix.SizeofInotifyEvent:unix.SizeofInotifyEvent+size], "\x00"))
		if name == spool.FileName(10, ".lost") {
			moved = mask&unix.IN_MOVED_TO != 0
		}
		b = b[unix.SizeofInotifyEvent+size:]
	}
	if !moved {
		t.Error("the name is there before the text")
	}
}
