// Command dyno-init is the first process of every dyno. It waits for the agent's launch plan, starts the
// command of it, passes signals on to every process of the dyno, reaps what the command leaves behind, and ends
// with the command's status. Meanwhile it starts more commands for the agent and tells how they end.
//
// It never restarts anything, reads no file and copies no output. It takes no arguments; what it needs lies at
// the fixed places of package launch. It runs without privileges, as the dyno's own user.
package main

import (
	"fmt"
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
	if os.Getpid() != 1 { // its signals would reach every process of the host
		fmt.Fprintln(os.Stderr, "dyno-init is process 1 of a dyno, and nothing elsewhere")
		os.Exit(codeCannotRun)
	}
	// Its memory holds the environment and its descriptors are the log pipes: hide both from the dyno's other
	// processes, which run as the same user.
	_ = unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0)
	os.Exit(run())
}

func run() int {
	signals, ended, knocks := make(chan os.Signal, 64), make(chan os.Signal, 1), make(chan os.Signal, 1)
	signal.Notify(signals, unix.SIGTERM, unix.SIGHUP, unix.SIGINT, unix.SIGQUIT,
		unix.SIGUSR1, unix.SIGUSR2, unix.SIGWINCH, unix.SIGCONT, unix.SIGALRM)
	signal.Notify(ended, unix.SIGCHLD)
	signal.Notify(knocks, launch.Knock)
	agent := newAgent(launch.Dir+"/"+launch.Socket, knocks)
	go agent.talk()
	dyno := &dyno{sessions: map[int]*launch.Conn{}}
	for !dyno.over() {
		select {
		case task := <-agent.tasks:
			task(dyno)
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
