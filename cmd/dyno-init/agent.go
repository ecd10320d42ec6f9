package main

import (
	"os"
	"runtime/debug"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dynod/dynod/runtime/launch"
)

const (
	// patience is how long the agent may take for one step, before init gives the connection up.
	patience = time.Minute
	// unasked is after how long init looks for an agent though none has knocked: only in case.
	unasked = 30 * time.Second
)

// state is what init says of a command.
type state struct {
	kind   launch.Kind
	reason string // of Failed
}

// agent is the talk with whatever agent listens.
type agent struct {
	socket string
	knocks chan os.Signal
	tasks  chan func(*dyno) // for the goroutine that starts and reaps
	heard  chan struct{}    // closed when the agent knows that the command started or failed
}

func newAgent(socket string, knocks chan os.Signal) *agent {
	return &agent{socket: socket, knocks: knocks, tasks: make(chan func(*dyno)), heard: make(chan struct{})}
}

// talk answers every agent that listens, for as long as init lives: the one that brings the plan, later ones that do
// not know what became of it, and those that have more commands to run.
func (a *agent) talk() {
	heard, now := a.heard, state{kind: launch.Waiting}
	for {
		if conn, err := launch.Dial(a.socket); err == nil {
			if a.converse(conn, &now) && heard != nil {
				close(heard)
				heard = nil
			}
			// A plan may be large, and the collector alone would let its garbage grow to 4 MB. The command's start goes first.
			time.AfterFunc(time.Second, debug.FreeOSMemory)
		}
		select {
		case <-a.knocks:
		case <-time.After(unasked):
		}
	}
}

// converse is one connection, from the first state to what the agent wants; false when it broke before.
func (a *agent) converse(conn *launch.Conn, now *state) bool {
	if conn.Say(patience, now.kind, now.reason, none) != nil {
		conn.Close()
		return false
	}
	wait := patience
	if now.kind == launch.Waiting {
		wait = 0 // the agent may have come long before the order
	}
	m, err := conn.Receive(wait)
	if err == nil && now.kind == launch.Waiting && m.Kind == launch.Plans {
		if err = a.launch(conn, m, now); err == nil {
			m, err = conn.Receive(patience)
		}
	}
	if err != nil {
		conn.Close()
		return false
	}
	defer m.Drop()
	if m.Kind == launch.Exec && now.kind == launch.Started {
		a.exec(conn, m) // it keeps the connection
		return true
	}
	conn.Close()
	return m.Kind == launch.Ack
}

// launch has the first plan carried out.
func (a *agent) launch(conn *launch.Conn, m *launch.Message, now *state) error {
	defer m.Drop()
	plan, err := launch.Decode(m.Payload)
	if err != nil {
		return err
	}
	fds, err := m.Take(launch.LogPipes + plan.Streams())
	if err != nil {
		return err
	}
	terminal, done := none, make(chan struct{})
	a.tasks <- func(d *dyno) {
		*now, terminal = d.launch(plan, fds)
		close(done)
	}
	<-done
	defer shut(terminal)
	return conn.Say(patience, now.kind, now.reason, terminal)
}

// none is no descriptor.
const none = -1

func shut(fds ...int) {
	for _, fd := range fds {
		if fd != none {
			_ = unix.Close(fd)
		}
	}
}
