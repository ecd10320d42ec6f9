package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/dynod/dynod/runtime/launch"
)

// defaultPath is searched when the plan's environment has no PATH.
const defaultPath = "/usr/local/bin:/usr/bin:/bin"

// spawn starts the command in a session of its own, with nothing to read, and returns its process.
func spawn(plan launch.Plan, stdout, stderr int) (int, error) {
	if err := unix.Access(plan.Dir, unix.X_OK); err != nil {
		return 0, fmt.Errorf("enter working directory %s: %w", plan.Dir, err)
	}
	path, err := find(plan)
	if err != nil {
		return 0, fmt.Errorf("find command %s: %w", plan.Args[0], err)
	}
	if err := limit(plan.Rlimits); err != nil {
		return 0, err
	}
	null, err := unix.Open(os.DevNull, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return 0, fmt.Errorf("open stdin: %w", err)
	}
	defer unix.Close(null)
	pid, err := syscall.ForkExec(path, plan.Args, &syscall.ProcAttr{
		Dir:   plan.Dir,
		Env:   plan.Env,
		Files: []uintptr{uintptr(null), uintptr(stdout), uintptr(stderr)},
		Sys:   &syscall.SysProcAttr{Setsid: true},
	})
	if err != nil {
		return 0, fmt.Errorf("run command %s: %w", path, err)
	}
	return pid, nil
}

// find looks the command up in the plan's PATH, as a shell would: a file that may not be run is passed over, and
// told only when there is no other.
func find(plan launch.Plan) (string, error) {
	name := plan.Args[0]
	if strings.Contains(name, "/") {
		return name, nil
	}
	found := error(unix.ENOENT)
	for _, dir := range filepath.SplitList(searchPath(plan.Env)) {
		candidate := filepath.Join(plan.Dir, name)
		if filepath.IsAbs(dir) {
			candidate = filepath.Join(dir, name)
		}
		err := executable(candidate)
		if err == nil {
			return candidate, nil
		}
		if errors.Is(err, unix.EACCES) {
			found = err
		}
	}
	return "", found
}

func executable(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	if info.IsDir() {
		return unix.EACCES
	}
	return unix.Access(path, unix.X_OK)
}

func searchPath(env []string) string {
	for _, v := range env {
		if path, ok := strings.CutPrefix(v, "PATH="); ok && path != "" {
			return path
		}
	}
	return defaultPath
}

// limit sets the plan's limits on init itself, from which the command inherits them. syscall's Setrlimit is the one
// that keeps Go from giving the command its own idea of the open files limit.
func limit(limits []launch.Rlimit) error {
	for _, l := range limits {
		var now syscall.Rlimit
		if err := syscall.Getrlimit(l.Resource, &now); err != nil {
			return fmt.Errorf("read resource limit %d: %w", l.Resource, err)
		}
		hard := min(l.Hard, now.Max)
		wanted := syscall.Rlimit{Cur: min(l.Soft, hard), Max: hard}
		if err := syscall.Setrlimit(l.Resource, &wanted); err != nil {
			return fmt.Errorf("set resource limit %d: %w", l.Resource, err)
		}
	}
	return nil
}
