// Command dyno-init is the first process of every dyno. It waits for the agent's launch plan, starts the
// command of it, passes signals on to every process of the dyno, reaps what the command leaves behind, and ends
// with the command's status. Meanwhile it has more commands started for the agent, which is told how they end.
//
// It never restarts anything, reads no file and copies no output. It is started without arguments; what it needs lies at
// the fixed places of package launch. It runs without privileges, as the dyno's own user.
//
// Once the command runs and the agent has nothing more to say, it falls asleep (entry.go).
package main

import (
	"fmt"
	"os"
	"runtime"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dynod/dynod/runtime/launch"
)

// lastWord is how long init stays after the command's end to tell the agent that the command had started. A
// command may end sooner than that is said.
const lastWord = time.Second

// Exec is for the leader of the threads alone, by which the agent knows the process: another one would take its place, after a
// moment without memory and descriptors.
func init() { runtime.LockOSThread() }

func main() {
	_ = unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0) // already done by the kernel, unless fs.suid_dumpable is 1
	switch {
	case len(os.Args) > 1 && os.Args[1] == assist:
		help(len(os.Args) > 2)
	case os.Getpid() == 1:
		os.Exit(run())
	default: // its signals would reach every process of the host
		fmt.Fprintln(os.Stderr, "dyno-init is process 1 of a dyno, and nothing elsewhere")
		os.Exit(codeCannotRun)
	}
}

func run() int {
	e := listen()
	agent := newAgent(launch.Dir+"/"+launch.Socket, e.knocks)
	go agent.talk(func(d *dyno) { d.sleep(e) })
	dyno := &dyno{sessions: map[int]*launch.Conn{}}
	for !dyno.over() {
		select {
		case task := <-agent.tasks:
			task(dyno)
		case s := <-e.signals:
			dyno.signal(launch.Meant(s.(unix.Signal)))
		case s := <-e.unsure:
			dyno.signal(s.(unix.Signal))
		case <-e.ended:
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
