package main

import (
	"time"

	"golang.org/x/sys/unix"

	"github.com/dynod/dynod/runtime/launch"
)

const (
	// unwatched is how long init waits between two tries to connect when it cannot be told that the socket appeared.
	unwatched = 250 * time.Millisecond
	// watched is the same where it is told: only in case.
	watched = 30 * time.Second
)

// order is a plan on its way to the goroutine that starts and reaps.
type order struct {
	plan   launch.Plan
	fds    [launch.Descriptors]int
	answer chan state
}

// state is what init says of itself.
type state struct {
	kind   launch.Kind
	reason string // of Failed
}

// agent is the talk with whatever agent listens.
type agent struct {
	dir    string
	orders chan order
	heard  chan struct{} // closed when the agent has acknowledged that the command started or failed
}

func newAgent(dir string) *agent {
	return &agent{dir: dir, orders: make(chan order), heard: make(chan struct{})}
}

// talk answers every agent that listens, for as long as init lives: the one that brings the plan, and later ones
// that do not know what became of it.
func (a *agent) talk() {
	heard, now := a.heard, state{kind: launch.Waiting}
	watch := newWatch(a.dir)
	for first := true; ; {
		if conn, err := launch.Dial(a.dir + "/" + launch.Socket); err == nil {
			done := a.converse(conn, &now)
			conn.Close()
			if done && first {
				first, watch.most = false, max(watch.most, watched)
				close(heard)
			}
		}
		watch.wait()
	}
}

// converse is one connection, from the first state to the acknowledgement; false when it broke before.
func (a *agent) converse(conn *launch.Conn, now *state) bool {
	if conn.Say(now.kind, now.reason) != nil {
		return false
	}
	if now.kind == launch.Waiting {
		plan, fds, err := conn.ReceivePlan()
		if err != nil {
			return false
		}
		o := order{plan: plan, fds: fds, answer: make(chan state)}
		a.orders <- o
		*now = <-o.answer
		if conn.Say(now.kind, now.reason) != nil {
			return false
		}
	}
	return conn.ReceiveAck() == nil
}

// watch wakes when something is made in a directory, so that waiting for an agent costs nothing.
type watch struct {
	fd   int // -1: cannot watch
	most time.Duration
}

func newWatch(dir string) watch {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return watch{fd: -1, most: unwatched}
	}
	if _, err := unix.InotifyAddWatch(fd, dir, unix.IN_CREATE|unix.IN_MOVED_TO); err != nil {
		_ = unix.Close(fd)
		return watch{fd: -1, most: unwatched}
	}
	return watch{fd: fd, most: watched}
}

// wait returns when the directory has changed since the last call, at the latest after the watch's time.
func (w watch) wait() {
	fds := []unix.PollFd{{Fd: int32(w.fd), Events: unix.POLLIN}} // the kernel passes over a negative descriptor
	_, _ = unix.Poll(fds, int(w.most.Milliseconds()))
	if w.fd >= 0 {
		var events [4096]byte
		_, _ = unix.Read(w.fd, events[:])
	}
}
