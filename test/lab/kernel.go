package lab

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/prometheus/procfs"
	"golang.org/x/sys/unix"
)

// mountsBelow lists the mounts at or below dir in the order in which they were made.
func mountsBelow(dir string) []*procfs.MountInfo {
	all, err := procfs.GetMounts()
	if err != nil {
		return nil // only without /proc, where nothing else works either
	}
	return slices.DeleteFunc(all, func(m *procfs.MountInfo) bool { return !below(m.MountPoint, dir) })
}

// unmountBelow takes the newest mount first, lazily where something still uses it.
func unmountBelow(dir string) error {
	var errs []error
	for _, m := range slices.Backward(mountsBelow(dir)) {
		err := unix.Unmount(m.MountPoint, unix.UMOUNT_NOFOLLOW)
		if errors.Is(err, unix.EBUSY) {
			err = unix.Unmount(m.MountPoint, unix.UMOUNT_NOFOLLOW|unix.MNT_DETACH)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("unmount %s: %w", m.MountPoint, err))
		}
	}
	return errors.Join(errs...)
}

// cgroupRoots lists where the cgroup hierarchies are mounted, of either version.
func cgroupRoots() []string {
	all, err := procfs.GetMounts()
	if err != nil {
		return nil
	}
	var roots []string
	for _, m := range all {
		if (m.FSType == "cgroup" || m.FSType == "cgroup2") && m.Root == "/" {
			roots = append(roots, m.MountPoint)
		}
	}
	return roots
}

// cgroupsBelow lists the directories of a cgroup and those in it, in every hierarchy, parents before children.
func cgroupsBelow(parent string) []string {
	var dirs []string
	for _, root := range cgroupRoots() {
		_ = filepath.WalkDir(filepath.Join(root, parent), func(path string, d fs.DirEntry, err error) error {
			if err == nil && d.IsDir() {
				dirs = append(dirs, path)
			}
			return nil // vanished meanwhile: not there
		})
	}
	return dirs
}

// thaw lets frozen processes die: in a frozen version 1 cgroup not even SIGKILL takes effect.
func thaw(parent string) error {
	var errs []error
	for _, dir := range cgroupsBelow(parent) {
		file := filepath.Join(dir, "freezer.state")
		if _, err := os.Stat(file); err != nil {
			continue
		}
		if err := os.WriteFile(file, []byte("THAWED"), 0); err != nil && !gone(err) {
			errs = append(errs, fmt.Errorf("thaw cgroup: %w", err))
		}
	}
	return errors.Join(errs...)
}

// removeCgroups removes children first and tries again while the kernel still counts processes that have ended.
func removeCgroups(ctx context.Context, parent string) error {
	for {
		var busy error
		for _, dir := range slices.Backward(cgroupsBelow(parent)) {
			if err := unix.Rmdir(dir); err != nil && !gone(err) {
				busy = fmt.Errorf("remove cgroup %s: %w", dir, err)
			}
		}
		if busy == nil {
			return nil
		}
		if !pause(ctx) {
			return busy
		}
	}
}
