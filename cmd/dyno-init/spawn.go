package main

import (
	"fmt"
	"os"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/dynod/dynod/runtime/launch"
)

// start runs the plan's command in a session of its own and returns its process, and its terminal if it has one. The
// streams are its standard input, output and error, of which the input may be none: then it has nothing to read.
func start(plan launch.Plan, streams []int) (pid, terminal int, err error) {
	if err := unix.Access(plan.Dir, unix.X_OK); err != nil {
		return 0, none, fmt.Errorf("enter working directory %s: %w", plan.Dir, err)
	}
	path, err := find(plan)
	if err != nil {
		return 0, none, fmt.Errorf("find command %s: %w", plan.Args[0], err)
	}
	if plan.Stdio == launch.Terminal {
		return startOnTerminal(path, plan)
	}
	if streams[0] == none {
		null, err := unix.Open(os.DevNull, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			return 0, none, fmt.Errorf("open stdin: %w", err)
		}
		defer shut(null)
		streams[0] = null
	}
	pid, err = spawn(path, plan, streams, &syscall.SysProcAttr{Setsid: true})
	return pid, none, err
}

func startOnTerminal(path string, plan launch.Plan) (pid, terminal int, err error) {
	terminal, tty, err := openTerminal(plan.Rows, plan.Columns)
	if err != nil {
		return 0, none, fmt.Errorf("open terminal: %w", err)
	}
	defer shut(tty)
	pid, err = spawn(path, plan, []int{tty, tty, tty}, &syscall.SysProcAttr{Setsid: true, Setctty: true})
	if err != nil {
		shut(terminal)
		return 0, none, err
	}
	return pid, terminal, nil
}

func spawn(path string, plan launch.Plan, streams []int, attributes *syscall.SysProcAttr) (int, error) {
	var files []uintptr
	for _, fd := range streams {
		files = append(files, uintptr(fd))
	}
	var pid int
	var err error
	unblocked(func() {
		pid, err = syscall.ForkExec(path, plan.Args, &syscall.ProcAttr{Dir: plan.Dir, Env: plan.Env, Files: files, Sys: attributes})
	})
	if err != nil {
		return 0, fmt.Errorf("run command %s: %w", path, err)
	}
	return pid, nil
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
