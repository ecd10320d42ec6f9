// Command dyno-init is the first process of every dyno. It waits for the agent's launch plan, starts the
// command of it, passes signals on to every process of the dyno, reaps what the command leaves behind, and ends
// with the command's status.
//
// It never restarts anything, reads no file and copies no output. It takes no arguments; what it needs lies at
// the fixed places of package launch. It runs without privileges, as the dyno's own user.
package main

import (
	"os"
	"os/signal"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dynod/dynod/runtime/launch"
)

// lastWord is how long init stays after the command's end to tell the agent that the command had started. A
// command may end sooner than that is said.
const lastWord = time.Second

func main() {
	// Its memory holds the environment and its descriptors are the log pipes: hide both from the dyno's other
	// processes, which run as the same user.
	_ = unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0)
	os.Exit(run())
}

func run() int {
	signals, ended := make(chan os.Signal, 64), make(chan os.Signal, 1)
	signal.Notify(signals, unix.SIGTERM, unix.SIGHUP, unix.SIGINT, unix.SIGQUIT,
		unix.SIGUSR1, unix.SIGUSR2, unix.SIGWINCH, unix.SIGCONT, unix.SIGALRM)
	signal.Notify(ended, unix.SIGCHLD)
	agent := newAgent(launch.Dir)
	go agent.talk()
	dyno := &dyno{}
	for !dyno.over() {
		select {
		case order := <-agent.orders:
			order.answer <- dyno.start(order.plan, order.fds)
		case s := <-signals:
			dyno.signal(s.(unix.Signal))
		case <-ended:
			dyno.reap()
		case <-agent.heard:
			dyno.heard = true
			agent.heard = nil
		}
	}
	if agent.heard != nil && dyno.main != 0 {
		select {
		case <-agent.heard:
		case <-time.After(lastWord):
		}
	}
	return dyno.code
}
