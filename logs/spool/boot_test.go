package spool_test

import (
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/dynod/dynod/logs/spool"
)

// TestAnotherBoot: what was given after the last trace on disk is never given again, and the hole is told at once.
func TestAnotherBoot(t *testing.T) {
	root := t.TempDir()
	dyno, silent := filepath.Join(root, "01234567-89ab-cdef-0123-456789abcdef"), filepath.Join(root, "01234567-89ab-cdef-0123-456789abcdee")
	must(t, os.Mkdir(silent, 0o700))
	must(t, spool.BeginBoot(root, "one"))
	w := openWriter(t, dyno, 1000)
	must(t, w.Append([]byte("kept, and what the power cut took"), noon))
	for range 2 { // twice in one boot
		must(t, spool.BeginBoot(root, "one"))
	}
	expect(t, walk(t, reader(t, dyno, 0)), `0 "kept, and what the power cut took"`)
	must(t, os.Truncate(filepath.Join(spool.Dir(dyno, spool.Stdout), spool.FileName(0, ".seg")), 4))
	var both sync.WaitGroup
	for range 2 { // agent and capture begin together
		both.Go(func() {
			if err := spool.BeginBoot(root, "two"); err != nil {
				t.Error(err)
			}
		})
	}
	both.Wait()
	w = openWriter(t, dyno, 1000)
	if w.Offset() != 4+spool.Margin {
		t.Errorf("the stream goes on at %d", w.Offset())
	}
	must(t, w.Append([]byte("new"), noon))
	expect(t, walk(t, reader(t, dyno, 0)), `0 "kept"`, "4 gap 68719476736", "68719476740 end", `68719476740 "new"`)
	if tail, err := spool.Tail(silent, spool.Stdout); tail != 0 || err != nil {
		t.Errorf("a stream without a byte goes on at %d, %v", tail, err)
	}
}

// TestLengthWithoutBytes: the disk has the length of a segment and not its last bytes, and of the next segment the name alone.
func TestLengthWithoutBytes(t *testing.T) {
	root := t.TempDir()
	dyno := filepath.Join(root, "01234567-89ab-cdef-0123-456789abcdef")
	must(t, os.Mkdir(dyno, 0o700))
	must(t, spool.BeginBoot(root, "one"))
	w := openWriter(t, dyno, 1000)
	must(t, w.Append([]byte("a\x00b"), noon))
	dir := spool.Dir(dyno, spool.Stdout)
	must(t, os.Truncate(filepath.Join(dir, spool.FileName(0, ".seg")), 500))
	must(t, os.WriteFile(filepath.Join(dir, spool.FileName(1000, ".seg")), nil, 0o600))
	must(t, spool.BeginBoot(root, "one"))
	if there, err := spool.Present(dyno, spool.Stdout, 0); there != 500 || err != nil {
		t.Errorf("%d bytes in the same boot, %v", there, err)
	}
	must(t, spool.BeginBoot(root, "two"))
	expect(t, walk(t, reader(t, dyno, 0)), `0 "a\x00b"`, "3 gap 68719477733", "68719477736 end")
}

// TestBootWithTheCursorAlone: the directory of the stream itself is gone.
func TestBootWithTheCursorAlone(t *testing.T) {
	root := t.TempDir()
	dyno := filepath.Join(root, "01234567-89ab-cdef-0123-456789abcdef")
	must(t, os.Mkdir(dyno, 0o700))
	must(t, spool.BeginBoot(root, "one"))
	must(t, spool.Cursor{spool.Stdout: 12}.Store(dyno))
	must(t, spool.BeginBoot(root, "two"))
	expect(t, walk(t, reader(t, dyno, 12)), "12 gap 68719476736", "68719476748 end")
}

// TestLastSegmentGone is worse: only its times are left.
func TestLastSegmentGone(t *testing.T) {
	dir := t.TempDir()
	w := openWriter(t, dir, 40)
	must(t, w.Append(make([]byte, 40), noon))
	must(t, w.Append([]byte("abc"), noon))
	must(t, w.Append([]byte("def"), noon)) // and the writer is killed
	must(t, os.Remove(filepath.Join(spool.Dir(dir, spool.Stdout), spool.FileName(40, ".seg"))))
	if w = openWriter(t, dir, 40); w.Offset() != 43+spool.Margin {
		t.Errorf("the stream goes on at %d", w.Offset())
	}
}

// TestTornWhileNobodyLooked cuts the last segment: a receiver may have what is missing.
func TestTornWhileNobodyLooked(t *testing.T) {
	dir := t.TempDir()
	w := openWriter(t, dir, 1000)
	for range 3 {
		must(t, w.Append([]byte("0123456789"), noon))
	}
	must(t, w.Close())
	must(t, os.Truncate(filepath.Join(spool.Dir(dir, spool.Stdout), spool.FileName(0, ".seg")), 5))
	for range 2 { // found again and again, the place is the same
		if tail, err := spool.Tail(dir, spool.Stdout); tail != 30+spool.Margin || err != nil {
			t.Fatalf("tail %d, %v", tail, err)
		}
		must(t, spool.Seal(dir, spool.Stdout))
	}
	w = openWriter(t, dir, 1000)
	must(t, w.Append([]byte("new"), noon))
	expect(t, walk(t, reader(t, dir, 0)), `0 "01234"`, "5 gap 68719476761", "68719476766 end", `68719476766 "new"`)
}
