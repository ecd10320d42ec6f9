package main

import (
	"fmt"
	"os"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/dynod/dynod/runtime/launch"
)

// The program is entered at dyno_init (entry_*.s) instead of Go's own entry point, as the linker is told. That blocks every
// signal, so that Go's threads take only those of signal.Notify and the few that Go lets no thread block (launch.Sure), and goes
// on to Go's unless it is process 1 with two arguments: then it sleeps. A sleeper is what is left of init when its command runs and was told of: a loop over the
// signals that wait, written without Go, whose runtime alone would take half a megabyte of every dyno that idles. It
//
//   - passes signals on, as dyno.signal does,
//   - reaps, and ends as dyno.over says,
//   - starts an assistant when the agent knocks.
//
// Sleeper and assistant are this program once more. Exec keeps the signals that wait while they are blocked, so none is lost.

// assist is the argument of an assistant. A sleeper has another one, the number of the command's process; so has the assistant of a dyno
// that is being stopped.
const assist = "assist"

// entered is set at the entry point. Signals would be lost without it.
var entered bool

// sleep turns init into a sleeper. It returns if that cannot be, or not now.
func (d *dyno) sleep(e *ears) {
	if !entered || d.main == 0 || d.ended || d.term || len(d.sessions) > 0 {
		return
	}
	defer func() {
		e.open()
		d.reap() // whose end nobody has heard
	}()
	if e.close() || keepOverExec(true) != nil {
		return
	}
	_ = syscall.Exec(os.Args[0], []string{os.Args[0], assist, strconv.Itoa(d.main)}, os.Environ())
	_ = keepOverExec(false)
}

// keepOverExec says whether what is kept stays open in the program that replaces this one.
func keepOverExec(stays bool) error {
	flags := unix.FD_CLOEXEC
	if stays {
		flags = 0
	}
	for i := range launch.Kept {
		if _, err := unix.FcntlInt(uintptr(launch.KeepFD+i), unix.F_SETFD, flags); err != nil {
			return fmt.Errorf("keep pipe: %w", err)
		}
	}
	return nil
}
