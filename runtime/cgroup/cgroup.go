// Package cgroup looks at and clears away the control group of one dyno, and writes limits into it, on cgroup v1 and v2,
// without asking containerd. It never makes a group: the OCI runtime does.
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
	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"
)

const (
	mountpoint = "/sys/fs/cgroup"
	// again is the pause between two looks at a group whose last process is about to go; the kernel tells nobody on v1.
	again = 2 * time.Millisecond
)

// Unified says whether the host has cgroup v2 alone. Hosts with both use v1.
func Unified() bool { return cgroups.Mode() == cgroups.Unified }

// Tree is where all groups are.
type Tree struct {
	Root    string // where cgroup2 is mounted, or on v1 the hierarchies, each by its name
	Unified bool   // v2
}

// Host is the tree of this host.
func Host() Tree { return Tree{mountpoint, Unified()} }

// SwapCounted says whether swap can be limited: on v1 a kernel may leave the counters out.
func (t Tree) SwapCounted() bool {
	return t.Unified || exists(filepath.Join(t.Root, "memory", "memory.memsw.limit_in_bytes"))
}

// IOWeighted says whether groups can have a weight where a disk is busy: not on v1, and not on every kernel.
func (t Tree) IOWeighted() bool {
	return t.Unified && exists(filepath.Join(t.Root, "io.cost.qos"))
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// Group is the group at a path below the root of every hierarchy, such as /dynos/<id>. It need not be there.
func (t Tree) Group(path string) Group { return Group{t, path} }

// Group is one control group.
type Group struct {
	tree Tree
	path string
}

// String is its path.
func (g Group) String() string { return g.path }

// dirs are the directories of the group that exist: one on v2, one for each hierarchy on v1.
func (g Group) dirs() []string {
	if g.tree.Unified {
		return existing([]string{g.file("", "")})
	}
	hierarchies, _ := os.ReadDir(g.tree.Root) // a pattern would have every directory on the way read, with all dynos in it
	var all []string
	for _, h := range hierarchies {
		all = append(all, g.file(h.Name(), ""))
	}
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

// Write writes a value into a file of the group. NotFound when there is no such file.
func (g Group) Write(controller, name, value string) error {
	err := os.WriteFile(g.file(controller, name), []byte(value), 0) // the kernel makes no file for O_CREAT
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) && !exists(g.file(controller, name)) {
		err = fmt.Errorf("%w: %w", errdefs.ErrNotFound, err)
	}
	if err != nil {
		return fmt.Errorf("limit %s: %w", g, err)
	}
	return nil
}

// Exists says whether anything of the group is left.
func (g Group) Exists() bool { return len(g.dirs()) > 0 }

// Kill ends every process of the group and of those below it by SIGKILL and returns when none is left, or with ctx's
// error.
func (g Group) Kill(ctx context.Context) error {
	for {
		left, err := g.kill()
		if err != nil || !left {
			return err
		}
		if err := pause(ctx); err != nil {
			return fmt.Errorf("kill processes of %s: %w", g, err)
		}
	}
}

// kill leaves it to the kernel where that can: then no fork outruns it.
func (g Group) kill() (left bool, err error) {
	if g.tree.Unified {
		populated, err := g.populated()
		if err != nil || !populated {
			return false, err
		}
		err = os.WriteFile(g.file("", "cgroup.kill"), []byte("1"), 0)
		if !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, fs.ErrPermission) { // the kernel makes no file for O_CREAT
			return true, gone(err)
		}
	}
	return g.killEach()
}

// populated says whether a process lives in the group or below it.
func (g Group) populated() (bool, error) {
	events, err := table(g.file("", "cgroup.events"))
	if errdefs.IsNotFound(err) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("read events of %s: %w", g, err)
	}
	return events["populated"] > 0, nil
}

// killEach goes by process numbers: on v1, and before Linux 5.14.
func (g Group) killEach() (left bool, err error) {
	for _, dir := range g.dirs() {
		pids, err := processes(dir)
		if err != nil {
			return false, err
		}
		left = left || len(pids) > 0
		for _, pid := range pids {
			if err := unix.Kill(pid, unix.SIGKILL); err != nil && !errors.Is(err, unix.ESRCH) {
				return false, fmt.Errorf("kill process %d: %w", pid, err)
			}
		}
	}
	return left, nil
}

// gone is nil for the error of a group that went meanwhile.
func gone(err error) error {
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENODEV) {
		return nil
	}
	return err
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
