package main

import (
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dynod/dynod/runtime/launch"
)

const (
	// patience is how long the agent may take for one step, before init gives the connection up.
	patience = time.Minute
	// unasked is after how long init looks for an agent though none has knocked: only in case.
	unasked = 30 * time.Second
	// quiet is after how long without a knock init falls asleep. The command's start goes first.
	quiet = time.Second
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

// talk answers every agent that listens, for as long as init is awake: the one that brings the plan, later ones that do
// not know what became of it, and those that have more commands to run. In a pause after an agent knows, init may sleep.
func (a *agent) talk(sleep func(*dyno)) {
	heard, now := a.heard, state{kind: launch.Waiting}
	for pause := unasked; ; {
		if conn, err := launch.Dial(a.socket); err == nil && a.converse(conn, &now) && heard != nil {
			close(heard)
			heard, pause = nil, quiet
		}
		select {
		case <-a.knocks:
		case <-time.After(pause):
			if heard == nil {
				a.do(sleep)
			}
			pause = min(2*pause, unasked)
		}
	}
}

// answer tells one agent that the command runs, and hears what it wants.
func (a *agent) answer() {
	if conn, err := launch.Dial(a.socket); err == nil {
		a.converse(conn, &state{kind: launch.Started})
	}
}

// do has a task done.
func (a *agent) do(task func(*dyno)) {
	done := make(chan struct{})
	a.tasks <- func(d *dyno) {
		task(d)
		close(done)
	}
	<-done
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
	terminal := none
	a.do(func(d *dyno) { *now, terminal = d.launch(plan, fds) })
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
