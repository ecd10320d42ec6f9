package main

import (
	"errors"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dynod/dynod/runtime/launch"
)

// errStopping refuses commands that would come too late for the signal by which the dyno is asked to end.
var errStopping = errors.New("the dyno is being stopped")

// aside is how long the goroutine that starts and reaps may take to tell an agent something. It never takes any
// time: nothing but one state and one exit goes this way on a connection.
const aside = time.Second

// exec has one more command run, whose caller holds the other end of conn.
func (a *agent) exec(conn *launch.Conn, m *launch.Message) {
	plan, err := launch.Decode(m.Payload)
	if err == nil && plan.Stdio == launch.Logs {
		err = launch.ErrFrame
	}
	var streams []int
	if err == nil {
		streams, err = m.Take(plan.Streams())
	}
	if err != nil {
		conn.Close()
		return
	}
	pid := 0
	a.do(func(d *dyno) { pid = d.exec(plan, streams, conn) })
	if pid != 0 {
		go a.attend(pid, conn)
	}
}

// attend passes on what the caller wants until the connection ends.
func (a *agent) attend(pid int, conn *launch.Conn) {
	for {
		m, err := conn.Receive(0)
		if err == nil {
			m.Drop() // no descriptor is expected
		}
		if err != nil || m.Kind != launch.Signal { // which is all that an agent says here
			a.tasks <- func(d *dyno) { d.hangUp(pid, conn) }
			conn.Close()
			return
		}
		s := unix.Signal(m.Payload[0])
		a.tasks <- func(d *dyno) { d.signalSession(pid, conn, s) }
	}
}

// exec starts a command and says so; 0 if it cannot be started.
func (d *dyno) exec(plan launch.Plan, streams []int, conn *launch.Conn) int {
	pid, terminal, err := 0, none, errStopping
	if !d.term {
		pid, terminal, err = start(plan, streams)
	}
	shut(streams...)
	defer shut(terminal)
	if err != nil {
		_ = conn.Say(aside, launch.Failed, err.Error(), none)
		conn.Close()
		return 0
	}
	d.sessions[pid] = conn
	_ = conn.Say(aside, launch.Started, "", terminal) // a caller that is gone is seen by attend
	return pid
}

// signalSession sends s to the processes of a command that runs. Its number can only be another's once it was reaped,
// and then it is not conn's any more.
func (d *dyno) signalSession(pid int, conn *launch.Conn, s unix.Signal) {
	if d.sessions[pid] == conn {
		_ = unix.Kill(-pid, s)
	}
}

// hangUp tells a command that its caller is gone; one that was stopped is to hear it too.
func (d *dyno) hangUp(pid int, conn *launch.Conn) {
	d.signalSession(pid, conn, unix.SIGHUP)
	d.signalSession(pid, conn, unix.SIGCONT)
}

// closeSession tells the caller how its command ended.
func (d *dyno) closeSession(pid, code int) {
	if conn := d.sessions[pid]; conn != nil {
		_ = conn.Send(aside, launch.Exit, []byte{byte(code)})
		conn.Close()
		delete(d.sessions, pid)
	}
}
