package config_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/dynod/dynod/cmd/dynod/config"
)

// tempDir is a directory below parent, which says on what kind of file system it lies.
func tempDir(t *testing.T, parent string, tmpfs bool) string {
	t.Helper()
	dir, err := os.MkdirTemp(parent, "dynod-config-") //nolint:usetesting // t.TempDir cannot choose the file system
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil {
		t.Fatal(err)
	}
	if (fs.Type == unix.TMPFS_MAGIC) != tmpfs {
		t.Skipf("tmpfs = %v for %s on this machine", !tmpfs, parent)
	}
	return dir
}

func TestMakeDirs(t *testing.T) {
	run, state := tempDir(t, "/dev/shm", true), t.TempDir()
	c := config.Config{StateDir: state + "/a/state", RunDir: run + "/run", SpoolDir: state + "/spool"}
	old := unix.Umask(0o077)
	defer unix.Umask(old)
	for range 2 {
		if err := config.MakeDirs(c); err != nil {
			t.Fatal(err)
		}
	}
	for dir, want := range map[string]os.FileMode{c.StateDir: 0o711, c.RunDir: 0o711, c.SpoolDir: 0o700} {
		info, err := os.Stat(dir)
		if err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: %v, %v; want mode %v", dir, info.Mode(), err, want)
		}
	}
}

func TestMakeDirsKeepsModes(t *testing.T) {
	run := tempDir(t, "/dev/shm", true)
	if err := os.Chmod(run, 0o750); err != nil {
		t.Fatal(err)
	}
	if err := config.MakeDirs(config.Config{StateDir: run, RunDir: run, SpoolDir: run}); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(run); err != nil || info.Mode().Perm() != 0o750 {
		t.Errorf("mode of the operator's directory changed: %v, %v", info.Mode(), err)
	}
}

func TestRunDirOnDiskIsRefused(t *testing.T) {
	run := filepath.Join(tempDir(t, "/var/tmp", false), "run")
	err := config.MakeDirs(config.Config{StateDir: t.TempDir(), RunDir: run, SpoolDir: t.TempDir()})
	problemsOf(t, err)
	want := fmt.Sprintf("run_dir = %q: must be on a tmpfs: launch plans hold the dynos' secrets and must never reach a disk; "+
		"mount one there (mount -t tmpfs -o mode=0711 tmpfs %s)", run, run)
	if err.Error() != want {
		t.Errorf("error %q, want %q", err, want)
	}
}

func TestFileInTheWay(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	err := config.MakeDirs(config.Config{StateDir: file, RunDir: t.TempDir(), SpoolDir: t.TempDir()})
	if bad := (*config.Error)(nil); err == nil || errors.As(err, &bad) {
		t.Errorf("error %v, want one that may pass", err)
	}
}
