package agent

import (
	"sync"

	"github.com/dynod/dynod/agent/dyno"
	"github.com/dynod/dynod/runtime"
)

// guest is the client of an attached dyno for one life. The runner tells it what happens by closing channels, and it
// tells the runner so that it is gone; neither ever waits for the other.
type guest struct {
	begun chan struct{} // closed when the command was started; stdio and reason are set then
	ended chan struct{} // closed when the life is over; exit is set then
	gone  chan struct{} // closed when the client is
	leave func()        // says that the client is gone; may be called again

	stdio  *runtime.Stdio // nil where the command could not be executed
	reason string         // why it could not
	exit   dyno.Exit
}

func newGuest() *guest {
	g := &guest{begun: make(chan struct{}), ended: make(chan struct{}), gone: make(chan struct{})}
	g.leave = sync.OnceFunc(func() { close(g.gone) })
	return g
}

// started says whether the command was.
func (g *guest) started() bool { return closed(g.begun) }

// left says whether the client is gone.
func (g *guest) left() bool { return closed(g.gone) }

func closed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// lost is closed when the client is gone while that means something to the dyno, whose record is rec.
func (g *guest) lost(rec dyno.Record) <-chan struct{} {
	if g == nil || !g.started() || !rec.Abandonable() {
		return nil
	}
	return g.gone
}

// hangUp closes the runner's hold on what the command reads and writes.
func (g *guest) hangUp() {
	if g != nil && g.stdio != nil {
		_ = g.stdio.Close()
	}
}
