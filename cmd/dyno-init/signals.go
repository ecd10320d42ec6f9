package main

import (
	"os"
	"os/signal"
	"runtime"

	"golang.org/x/sys/unix"

	"github.com/dynod/dynod/runtime/launch"
)

// passedOn are the signals that init passes on to the dyno's other processes. The sleeper knows them by number.
var passedOn = []unix.Signal{
	unix.SIGTERM, unix.SIGHUP, unix.SIGINT, unix.SIGQUIT, unix.SIGUSR1, unix.SIGUSR2, unix.SIGWINCH, unix.SIGCONT, unix.SIGALRM,
}

// ears are the signals that are listened for.
type ears struct {
	signals chan os.Signal // passedOn, by the numbers that the agent uses
	unsure  chan os.Signal // those for which it uses other numbers
	ended   chan os.Signal // of children
	knocks  chan os.Signal // of the agent
}

func listen() *ears {
	e := &ears{
		signals: make(chan os.Signal, 64), unsure: make(chan os.Signal, 64), ended: make(chan os.Signal, 1), knocks: make(chan os.Signal, 1),
	}
	e.open()
	return e
}

func (e *ears) open() {
	for _, s := range passedOn {
		sure := launch.Sure(s)
		signal.Notify(e.signals, sure)
		if sure != s {
			signal.Notify(e.unsure, s)
		}
	}
	signal.Notify(e.ended, unix.SIGCHLD)
	signal.Notify(e.knocks, launch.Knock)
}

// close leaves further signals to wait in the kernel, and says whether one was heard that nobody has looked at. Of the end of a
// child nobody may have heard. The unsure ones would end init now if they were not listened for.
func (e *ears) close() (heard bool) {
	for _, c := range []chan os.Signal{e.signals, e.ended, e.knocks} {
		signal.Stop(c)
	}
	return len(e.signals)+len(e.unsure)+len(e.knocks) > 0
}

// unblocked calls f on a thread that blocks no signal: that is what a command inherits.
func unblocked(f func()) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var none, before unix.Sigset_t
	if unix.PthreadSigmask(unix.SIG_SETMASK, &none, &before) == nil {
		defer func() { _ = unix.PthreadSigmask(unix.SIG_SETMASK, &before, nil) }()
	}
	f()
}
