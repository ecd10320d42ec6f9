// Package cgroup looks at and clears away the control group of one dyno, on cgroup v1 and v2, without asking
// containerd. It never makes a group and never sets a limit: the OCI runtime does.
package cgroup

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/containerd/cgroups/v3"
	"golang.org/x/sys/unix"
)

const (
	mountpoint = "/sys/fs/cgroup"
	// again is the pause between two looks at a group whose last process is about to go; the kernel tells nobody on v1.
	again = 2 * time.Millisecond
)

// Unified says whether the host has cgroup v2 alone. Hosts with both use v1.
func Unified() bool { return cgroups.Mode() == cgroups.Unified }

// SwapCounted says whether swap can be limited: on v1 a kernel may leave the counters out.
func SwapCounted() bool {
	if Unified() {
		return true
	}
	_, err := os.Stat(filepath.Join(mountpoint, "memory", "memory.memsw.limit_in_bytes"))
	return err == nil
}

// Group is a control group by its path below the root of every hierarchy, such as /dynos/<id>.
type Group string

// dirs are the directories of the group that exist: one on v2, one for each hierarchy on v1.
func (g Group) dirs() []string {
	if Unified() {
		return existing([]string{filepath.Join(mountpoint, string(g))})
	}
	all, _ := filepath.Glob(filepath.Join(mountpoint, "*", string(g))) // the pattern is well-formed
	return existing(all)
}

func existing(dirs []string) []string {
	var found []string
	for _, dir := range dirs {
		if info, err := os.Stat(dir); err == nil && info.IsDir() {
			found = append(found, dir)
		}
	}
	return found
}

// Exists says whether anything of the group is left.
func (g Group) Exists() bool { return len(g.dirs()) > 0 }

// Kill ends every process of the group by SIGKILL and returns when none is left, or with ctx's error.
func (g Group) Kill(ctx context.Context) error {
	for {
		left, err := g.kill()
		if err != nil || left == 0 {
			return err
		}
		if err := pause(ctx); err != nil {
			return fmt.Errorf("kill %d processes of %s: %w", left, g, err)
		}
	}
}

func (g Group) kill() (left int, err error) {
	for _, dir := range g.dirs() {
		pids, err := processes(dir)
		if err != nil {
			return 0, err
		}
		left += len(pids)
		for _, pid := range pids {
			if err := unix.Kill(pid, unix.SIGKILL); err != nil && !errors.Is(err, unix.ESRCH) {
				return 0, fmt.Errorf("kill process %d: %w", pid, err)
			}
		}
	}
	return left, nil
}

func processes(dir string) ([]int, error) {
	data, err := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENODEV) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	var pids []int
	for _, field := range strings.Fields(string(data)) {
		// 0 is a process of another pid namespace, which must not be taken for our own group.
		if pid, err := strconv.Atoi(field); err == nil && pid > 0 {
			pids = append(pids, pid)
		}
	}
	return pids, nil
}

// Remove removes the empty group. Nothing left to remove is no error.
func (g Group) Remove(ctx context.Context) error {
	for _, dir := range g.dirs() {
		if err := remove(ctx, dir); err != nil {
			return err
		}
	}
	return nil
}

// remove tries again while the kernel still lets go of the last process.
func remove(ctx context.Context, dir string) error {
	for {
		err := unix.Rmdir(dir)
		if err == nil || errors.Is(err, unix.ENOENT) {
			return nil
		}
		if !errors.Is(err, unix.EBUSY) {
			return fmt.Errorf("remove cgroup %s: %w", dir, err)
		}
		if waited := pause(ctx); waited != nil {
			return fmt.Errorf("remove cgroup %s: %w", dir, errors.Join(err, waited))
		}
	}
}

func pause(ctx context.Context) error {
	select {
	case <-time.After(again):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
