package spool_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dynod/dynod/logs/spool"
	"github.com/dynod/dynod/test/root"
)

// told is what a reader gives until an error or the end.
func told(r *spool.Reader) (all []string, err error) {
	for buf := make([]byte, 100); ; {
		p, err := r.Next(buf)
		switch {
		case errors.Is(err, io.EOF):
			return all, nil
		case err != nil:
			return all, err
		case p.Kind == spool.Data:
			all = append(all, fmt.Sprintf("%s at %s", p.Data, r.Marks(nil, p)[0].Time.Format(time.TimeOnly)))
		default:
			all = append(all, fmt.Sprintf("%d bytes, %d lines missing", p.Lost, p.Lines))
		}
	}
}

// TestTroubleThatPasses has files that are there and cannot be opened for a while: nothing is taken for missing.
func TestTroubleThatPasses(t *testing.T) {
	for _, name := range []string{spool.FileName(0, ".seg"), spool.FileName(0, ".t"), spool.FileName(16, ".lost"), spool.FileName(16, ".seg")} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			w := openWriter(t, dir, 10)
			must(t, w.Append([]byte("0123456789"), noon))
			w.Drop(6, 2, noon)
			must(t, w.Append([]byte("abc"), noon))
			must(t, w.Close())
			r := reader(t, dir, 0)
			restore := forbid(t, dir, filepath.Join(spool.Dir(dir, spool.Stdout), name))
			var got []string
			for range 5 * spool.MaxFails {
				more, err := told(r)
				if got = append(got, more...); !errors.Is(err, unix.EACCES) {
					t.Errorf("after %q: %v", got, err)
					break
				}
			}
			restore()
			more, err := told(r)
			must(t, err)
			at := noon.Format(time.TimeOnly)
			expect(t, append(got, more...), "0123456789 at "+at, "6 bytes, 2 lines missing", "abc at "+at)
		})
	}
}

// TestTailInTrouble: where the stream ends is not known before it is known what was delivered.
func TestTailInTrouble(t *testing.T) {
	dir := t.TempDir()
	w := openWriter(t, dir, 10)
	must(t, w.Append([]byte("0123456789"), noon))
	must(t, w.Close())
	for _, name := range []string{"cursor", "cursor-1"} {
		must(t, spool.Cursor{spool.Stdout: 12}.Store(dir))
		must(t, spool.Progress{Cursor: spool.Cursor{spool.Stdout: 14}}.Store(dir, 1))
		restore := forbid(t, dir, filepath.Join(dir, name))
		tail, err := spool.Tail(dir, spool.Stdout)
		restore()
		if !errors.Is(err, unix.EACCES) {
			t.Errorf("without %s the tail is %d, %v", name, tail, err)
		}
	}
	if tail, err := spool.Tail(dir, spool.Stdout); tail != 14 || err != nil {
		t.Errorf("tail %d, %v", tail, err)
	}
}

// forbid keeps this goroutine from opening one file of a dyno, and no other one, until restore is called.
func forbid(t *testing.T, dyno, file string) (restore func()) {
	t.Helper()
	paths := []string{filepath.Dir(dyno), dyno}
	must(t, filepath.WalkDir(dyno, func(path string, _ fs.DirEntry, err error) error {
		paths = append(paths, path)
		return err
	}))
	for _, path := range paths {
		must(t, os.Chmod(path, 0o755))
	}
	must(t, os.Chmod(file, 0))
	runtime.LockOSThread()
	before, err := unix.SetfsuidRetUid(65534) // root may open everything
	must(t, err)
	return func() {
		_, err := unix.SetfsuidRetUid(before)
		must(t, err)
		runtime.UnlockOSThread()
		must(t, os.Chmod(file, 0o600))
	}
}

// TestBadSector has a segment that can be opened and not be read: it is tried again, then passed over.
func TestBadSector(t *testing.T) {
	root.Needed(t)
	dir := t.TempDir()
	w := openWriter(t, dir, 10)
	for _, text := range []string{"0123456789", "klmnopqrst", "abcdefghij"} {
		must(t, w.Append([]byte(text), noon))
	}
	path := filepath.Join(spool.Dir(dir, spool.Stdout), spool.FileName(10, ".seg"))
	must(t, unix.Mount("/sys/class/net/lo/speed", path, "", unix.MS_BIND, "")) // gives an error to who reads it
	t.Cleanup(func() { must(t, unix.Unmount(path, unix.MNT_DETACH)) })
	r := reader(t, dir, 0)
	_, err := r.Next(make([]byte, 10))
	must(t, err)
	for range spool.MaxFails {
		if more, err := told(r); err == nil || len(more) > 0 {
			t.Fatalf("%q, %v", more, err)
		}
	}
	expect(t, walk(t, r), "10 gap 10", `20 "abcdefghij"`)
}

// TestDiskFullWithinAppend: what is there of lines that the disk takes in part is not counted as missing.
func TestDiskFullWithinAppend(t *testing.T) {
	root.Needed(t)
	disk := t.TempDir()
	must(t, unix.Mount("tmpfs", disk, "tmpfs", 0, "size=64k"))
	t.Cleanup(func() { must(t, unix.Unmount(disk, unix.MNT_DETACH)) })
	dir := filepath.Join(disk, "dyno")
	w := openWriter(t, dir, 1<<20)
	line := []byte(strings.Repeat("x", 999) + "\n")
	if err := w.Append(bytes.Repeat(line, 100), noon); !errors.Is(err, unix.ENOSPC) {
		t.Fatalf("append: %v", err)
	}
	fi, err := os.Stat(filepath.Join(spool.Dir(dir, spool.Stdout), spool.FileName(0, ".seg")))
	must(t, err)
	must(t, unix.Mount("", disk, "", unix.MS_REMOUNT, "size=1m"))
	must(t, w.Append([]byte("short\n"), noon))
	there := fi.Size()
	expectGap(t, dir, spool.Piece{Offset: there, Lost: 100_000 - there, Lines: 100 - there/1000, Since: noon})
}
