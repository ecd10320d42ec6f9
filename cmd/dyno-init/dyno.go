package main

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/dynod/dynod/runtime/launch"
)

// Exit codes of a command that never ran, as shells give them.
const (
	codeCannotRun = 126
	codeNotFound  = 127
	codeTerm      = 128 + int(unix.SIGTERM)
)

// dyno is the processes of the dyno as their parent knows them. One goroutine owns it: a process is started and
// reaped by the same one, or it could be reaped before its number is known.
type dyno struct {
	main   int  // the command's process, 0 before it runs
	ended  bool // the command has ended, or never will run; code is how
	term   bool // asked to end: every process has to be gone
	failed bool // the command could not be started
	heard  bool // the agent knows that the command started or failed
	code   int
}

// over says whether init has nothing left to wait for. Why a command could not be started must be told first.
func (d *dyno) over() bool {
	switch {
	case d.failed:
		return d.heard || d.term
	case d.term && d.main == 0:
		d.code = codeTerm
		return true
	case d.term:
		return d.ended && !children()
	}
	return d.ended
}

// signal passes s on to every process but this one. It can fail only when there is none.
func (d *dyno) signal(s unix.Signal) {
	d.term = d.term || s == unix.SIGTERM
	_ = unix.Kill(-1, s)
}

// reap takes every process that has ended; those whose parents ended before them have become init's children.
func (d *dyno) reap() {
	for {
		var status unix.WaitStatus
		pid, err := unix.Wait4(-1, &status, unix.WNOHANG, nil)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil || pid == 0 {
			return
		}
		if pid == d.main {
			d.ended, d.code = true, exitCode(status)
		}
	}
}

func exitCode(status unix.WaitStatus) int {
	if status.Signaled() {
		return 128 + int(status.Signal())
	}
	return status.ExitStatus()
}

// children says whether any child is left; one that has ended but is not reaped yet counts.
func children() bool {
	var info unix.Siginfo
	err := unix.Waitid(unix.P_ALL, 0, &info, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil)
	return !errors.Is(err, unix.ECHILD)
}

// start runs the plan. The descriptors are init's afterwards: the write ends are closed, so that the pipes end
// with the dyno's last writer, and the read ends are kept.
func (d *dyno) start(plan launch.Plan, fds [launch.Descriptors]int) state {
	defer unix.Close(fds[launch.StdoutFD])
	defer unix.Close(fds[launch.StderrFD])
	err := errors.Join(keep(fds[launch.KeepStdoutFD], launch.KeepFD), keep(fds[launch.KeepStderrFD], launch.KeepFD+1))
	if err == nil {
		d.main, err = spawn(plan, fds[launch.StdoutFD], fds[launch.StderrFD])
	}
	if err != nil {
		d.failed, d.ended, d.code = true, true, codeCannotRun
		if errors.Is(err, unix.ENOENT) {
			d.code = codeNotFound
		}
		return state{launch.Failed, err.Error()}
	}
	return state{kind: launch.Started}
}

// keep moves a descriptor to a number at which it can be found from outside.
func keep(fd, number int) error {
	if err := unix.Dup3(fd, number, unix.O_CLOEXEC); err != nil {
		return fmt.Errorf("keep pipe: %w", err)
	}
	return unix.Close(fd)
}
