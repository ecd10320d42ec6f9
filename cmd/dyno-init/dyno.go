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

	sessions map[int]*launch.Conn // the executed commands that run, with their callers, by process
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
	_ = unix.Kill(-1, s)
	if s == unix.SIGTERM {
		d.stop()
	}
}

// stop goes with SIGTERM. An interactive shell ignores that, and is not to hold up the end of a dyno into which somebody
// looks: executed commands are hung up too.
func (d *dyno) stop() {
	d.term = true
	for pid, conn := range d.sessions {
		d.hangUp(pid, conn)
	}
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
		if pid == d.main && !d.ended { // later the number is another's
			d.ended, d.code = true, exitCode(status)
		}
		d.closeSession(pid, exitCode(status))
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

// launch carries the first plan out. The descriptors are init's afterwards: what is to be kept is kept, if the command runs, and
// the command's ends of everything closed, so that it ends with the dyno's last writer. The terminal is the caller's.
func (d *dyno) launch(plan launch.Plan, fds []int) (now state, terminal int) {
	defer shut(fds...)
	err := keep(fds[launch.KeptFD:launch.LogPipes])
	if err == nil {
		err = limit(plan.Rlimits)
	}
	terminal = none
	if err == nil {
		streams := fds[launch.LogPipes:]
		if plan.Stdio == launch.Logs {
			streams = []int{none, fds[launch.StdoutFD], fds[launch.StderrFD]}
		}
		d.main, terminal, err = start(plan, streams)
	}
	if err != nil {
		letGo() // an agent takes a dyno that keeps pipes for one that runs, and asks no more
		d.failed, d.ended, d.code = true, true, codeCannotRun
		if errors.Is(err, unix.ENOENT) {
			d.code = codeNotFound
		}
		return state{launch.Failed, err.Error()}, none
	}
	return state{kind: launch.Started}, terminal
}

// keep copies descriptors to numbers at which they can be found from outside.
func keep(fds []int) error {
	for i, fd := range fds {
		if err := unix.Dup3(fd, launch.KeepFD+i, unix.O_CLOEXEC); err != nil {
			return fmt.Errorf("keep pipe: %w", err)
		}
	}
	return nil
}

// letGo closes what is kept.
func letGo() {
	for i := range launch.Kept {
		shut(launch.KeepFD + i)
	}
}
