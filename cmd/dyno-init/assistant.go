package main

import (
	"time"

	"golang.org/x/sys/unix"

	"github.com/dynod/dynod/runtime/launch"
)

// help is an assistant: it answers the agent that knocked at a sleeper, runs one command for it if it wants one, and ends with
// that. In a dyno that is being stopped it refuses. What the command leaves behind is the sleeper's. An assistant can fail for
// want of processes, which init must not.
func help(stopping bool) {
	letGo()
	e := listen()
	agent := newAgent(launch.Dir+"/"+launch.Socket, e.knocks)
	d := &dyno{term: stopping, sessions: map[int]*launch.Conn{}}
	answered := make(chan struct{})
	go func() {
		defer close(answered)
		agent.answer()
	}()
	var late <-chan time.Time // for the agent to hear that the dyno is being stopped
	for asked := true; asked || len(d.sessions) > 0; {
		select {
		case task := <-agent.tasks:
			task(d)
		case s := <-e.unsure: // which the sleeper passes on to every process, as signals are meant
			if s == unix.SIGTERM {
				d.stop()
				late = time.After(lastWord)
			}
		case <-late:
			asked = false
		case <-e.ended:
			d.reap()
		case <-answered:
			asked, answered = false, nil
		}
	}
}
