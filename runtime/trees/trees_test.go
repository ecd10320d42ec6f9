package trees_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/dynod/dynod/runtime/trees"
	"github.com/dynod/dynod/test/root"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// chain makes directories in one another below dir, deeper than any path leads, and in some a file and another directory.
func chain(t testing.TB, dir string, depth int) {
	t.Helper()
	at, err := unix.Open(dir, unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	must(t, err)
	for i := range depth {
		must(t, unix.Mkdirat(at, "d", 0o755))
		next, err := unix.Openat(at, "d", unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		must(t, errors.Join(err, unix.Close(at)))
		if at = next; i%10 != 0 {
			continue
		}
		must(t, unix.Mkdirat(at, "0", 0o755))
		for _, name := range []string{"f", "0/f"} {
			file, err := unix.Openat(at, name, unix.O_CREAT|unix.O_CLOEXEC, 0o644)
			must(t, errors.Join(err, unix.Close(file)))
		}
	}
	must(t, unix.Close(at))
}

// fewFiles bounds the descriptors of this process to some more than it has.
func fewFiles(t *testing.T, more uint64) {
	t.Helper()
	var limit unix.Rlimit
	must(t, unix.Getrlimit(unix.RLIMIT_NOFILE, &limit))
	open, err := os.ReadDir("/proc/self/fd")
	must(t, err)
	must(t, unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: uint64(len(open)) + more, Max: limit.Max}))
	t.Cleanup(func() { must(t, unix.Setrlimit(unix.RLIMIT_NOFILE, &limit)) })
}

func gone(t *testing.T, dir string) {
	t.Helper()
	if _, err := os.Lstat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%s is there: %v", dir, err)
	}
}

func TestDeepTreesNeedFewDescriptors(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "deep")
	must(t, os.Mkdir(dir, 0o755))
	chain(t, dir, 20_000)
	fewFiles(t, 50)
	must(t, trees.Remove(t.Context(), dir))
	gone(t, dir)
	must(t, trees.Remove(t.Context(), dir)) // nothing is left
}

// TestWideTrees has more in a directory than is read at a time, and more too deep down than the top has.
func TestWideTrees(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "wide")
	for _, below := range []string{dir, filepath.Join(dir, strings.Repeat("d/", 40))} {
		for i := range 1500 {
			must(t, os.MkdirAll(filepath.Join(below, "sub", fmt.Sprint(i)), 0o755))
			must(t, os.WriteFile(filepath.Join(below, "sub", fmt.Sprint(i), "f"), nil, 0o644))
			must(t, os.WriteFile(filepath.Join(below, fmt.Sprint("f", i)), nil, 0o644))
		}
	}
	must(t, trees.Remove(t.Context(), dir))
	gone(t, dir)
}

// TestNamesLikeNumbers has what stands in the way of directories that are moved up: an interrupted removal leaves such.
func TestNamesLikeNumbers(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "numbers")
	must(t, os.MkdirAll(filepath.Join(dir, "0", "1"), 0o755))
	must(t, os.WriteFile(filepath.Join(dir, "1"), nil, 0o644))
	must(t, os.Symlink("0", filepath.Join(dir, "2")))
	must(t, os.Mkdir(filepath.Join(dir, "3"), 0o755))
	for _, below := range []string{".", "0", "3"} {
		chain(t, filepath.Join(dir, below), 100)
	}
	must(t, trees.Remove(t.Context(), dir))
	gone(t, dir)
}

func TestLinksAreNotFollowed(t *testing.T) {
	outside := t.TempDir()
	must(t, os.WriteFile(filepath.Join(outside, "f"), nil, 0o644))
	dir := filepath.Join(t.TempDir(), "links")
	for _, below := range []string{dir, filepath.Join(dir, strings.Repeat("d/", 40))} {
		must(t, os.MkdirAll(below, 0o755))
		must(t, os.Symlink(outside, filepath.Join(below, "out")))
		must(t, os.Symlink(filepath.Join(outside, "f"), filepath.Join(below, "file")))
		must(t, os.Symlink("nowhere", filepath.Join(below, "dangling")))
	}
	link := filepath.Join(outside, "link")
	must(t, os.Symlink(dir, link))
	if err := trees.Remove(t.Context(), link); err == nil {
		t.Error("followed a link to the directory")
	}
	must(t, trees.Remove(t.Context(), dir))
	gone(t, dir)
	if left, err := os.ReadDir(outside); err != nil || len(left) != 2 {
		t.Errorf("outside: %v, %v", left, err)
	}
}

// TestWhatCannotBeRemoved keeps nothing else, and is removed when it can be.
func TestWhatCannotBeRemoved(t *testing.T) {
	root.Needed(t)
	dir := filepath.Join(t.TempDir(), "busy")
	busy := filepath.Join(dir, "a", "busy")
	for _, sub := range []string{busy, filepath.Join(dir, "a", "other"), filepath.Join(dir, "b")} {
		must(t, os.MkdirAll(sub, 0o755))
		chain(t, sub, 100)
	}
	must(t, unix.Mount("busy", busy, "tmpfs", 0, ""))
	if err := trees.Remove(t.Context(), dir); !errors.Is(err, unix.EBUSY) {
		t.Errorf("got %v", err)
	}
	must(t, unix.Unmount(busy, 0))
	if top, err := filepath.Glob(filepath.Join(dir, "*")); err != nil || len(top) != 1 {
		t.Errorf("left: %v, %v", top, err)
	}
	if left, err := filepath.Glob(filepath.Join(dir, "a", "*")); err != nil || len(left) != 1 || left[0] != busy {
		t.Errorf("left: %v, %v", left, err)
	}
	must(t, trees.Remove(t.Context(), dir))
	gone(t, dir)
}

// TestWhatCannotBeMoved is removed where it is.
func TestWhatCannotBeMoved(t *testing.T) {
	root.Needed(t)
	dir := t.TempDir()
	other := filepath.Join(dir, "other")
	must(t, os.Mkdir(other, 0o755))
	must(t, unix.Mount("other", other, "tmpfs", 0, ""))
	chain(t, other, 100)
	if err := trees.Remove(t.Context(), dir); !errors.Is(err, unix.EBUSY) {
		t.Errorf("got %v", err)
	}
	if left, err := os.ReadDir(other); err != nil || len(left) != 0 {
		t.Errorf("left: %v, %v", left, err)
	}
	must(t, unix.Unmount(other, 0))
}

func TestARemovalEndsWithItsContext(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "ended")
	must(t, os.Mkdir(dir, 0o755))
	chain(t, dir, 100)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := trees.Remove(ctx, dir); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if _, err := os.Stat(filepath.Join(dir, "d", "f")); err != nil {
		t.Error(err)
	}
	must(t, trees.Remove(t.Context(), dir))
	gone(t, dir)
}
