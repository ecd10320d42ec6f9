package config

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// MakeDirs makes the directories of state, run files and spool where they are missing; one that exists keeps its mode.
// A dyno's root user reaches its files through the first two, so others may pass through them, but not list them. A
// run_dir that would write launch plans to a disk is an *Error.
func MakeDirs(c Config) error {
	for _, dir := range []struct {
		path string
		mode os.FileMode
	}{{c.StateDir, 0o711}, {c.RunDir, 0o711}, {c.SpoolDir, 0o700}} {
		if err := makeDir(dir.path, dir.mode); err != nil {
			return err
		}
	}
	return CheckTmpfs(c.RunDir)
}

func makeDir(path string, mode os.FileMode) error {
	switch info, err := os.Stat(path); {
	case err == nil && !info.IsDir():
		return fmt.Errorf("make directory %s: a file is there", path)
	case err == nil:
		return nil
	}
	if err := os.MkdirAll(path, mode); err != nil {
		return fmt.Errorf("make directory: %w", err)
	}
	if err := os.Chmod(path, mode); err != nil { // the umask may have taken bits away
		return fmt.Errorf("set mode of directory: %w", err)
	}
	return nil
}

// CheckTmpfs refuses a run_dir that is not on a tmpfs, with an *Error.
func CheckTmpfs(dir string) error {
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil {
		return fmt.Errorf("stat file system of %s: %w", dir, err)
	}
	if fs.Type == unix.TMPFS_MAGIC {
		return nil
	}
	return &Error{[]string{fmt.Sprintf("run_dir = %s: must be on a tmpfs: launch plans hold the dynos' secrets and must never reach a disk; "+
		"mount one there (mount -t tmpfs -o mode=0711 tmpfs %s)", quote(dir), dir)}}
}
