package capture

import (
	"context"
	goruntime "runtime"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// glance is the time between two looks at the loop: a visit that both of them see is left behind.
	glance = 10 * time.Millisecond
	// asideEvery is the least time between two visits of a stream that the loop does not pay itself,
	asideEvery = 5 * time.Millisecond
	// probation how long they are paid so, doubled each time up to 32 of it.
	probation = time.Minute
)

// guard sees when the loop is stuck in a visit. Then another goroutine goes on as the loop; the stuck one, when it comes back,
// hands in its visit and ends. As long as nothing is stuck that costs two atomic operations a visit.
type guard struct {
	turn  atomic.Uint64 // odd while the loop pays a visit
	pipe  *pipe         // whom
	armed atomic.Bool   // the timer runs
	timer *time.Timer
	seen  uint64 // turn at the last look
}

func (g *guard) enter(p *pipe) (turn uint64) {
	g.pipe = p
	turn = g.turn.Add(1)
	if g.armed.CompareAndSwap(false, true) {
		g.timer.Reset(glance)
	}
	return turn
}

// leave tells whether the caller is still the loop.
func (g *guard) leave(turn uint64) bool { return g.turn.CompareAndSwap(turn, turn+1) }

// stuck looks once, and gives the pipe in whose visit the loop is stuck: the caller is the loop from now on.
func (g *guard) stuck() *pipe {
	turn := g.turn.Load()
	idle := turn == g.seen && turn%2 == 0
	late := turn == g.seen && turn%2 == 1 && g.turn.CompareAndSwap(turn, turn+1)
	g.seen = turn
	if idle {
		g.armed.Store(false)
		if g.turn.Load() == turn || !g.armed.CompareAndSwap(false, true) {
			return nil
		}
	}
	g.timer.Reset(glance)
	if late {
		return g.pipe
	}
	return nil
}

// watchOver is called by the guard's timer.
func (s *server) watchOver(ctx context.Context) {
	if p := s.guard.stuck(); p != nil {
		s.left(p)
		s.loop(ctx)
	}
}

// left goes on without a stream whose visit was left behind. From now on the loop does not pay visits to its dyno.
func (s *server) left(p *pipe) {
	s.buf = make([]byte, countBytes)
	s.park(p)
	if p.late == 0 {
		s.log.Info("a dyno does not let go of its pipe", "dyno", p.id, "stream", p.stream.String())
	}
	s.distrust(p.id)
}

// distrust has visits to a dyno paid aside for a while.
func (s *server) distrust(id string) {
	for _, stream := range captured {
		if p := s.streams[key{id, stream}]; p != nil {
			p.suspect = time.Now().Add(probation << min(p.late, 5))
			p.late++
		}
	}
}

// park takes a stream whose visit is under way out of the loop.
func (s *server) park(p *pipe) {
	s.outs++
	p.parked = true
	_ = unix.EpollCtl(s.epoll, unix.EPOLL_CTL_DEL, p.fd, nil)
}

// aside has a goroutine pay the visit that is planned.
func (s *server) aside(p *pipe) {
	p.out, p.shown = true, p.last()
	s.park(p)
	go func() {
		p.visit.pay()
		s.handIn(p)
	}()
}

// handIn brings a visit that the loop did not wait for.
func (s *server) handIn(p *pipe) {
	s.back <- p
	s.disk.rouse()
}

// await waits a moment for visits to come back.
func (s *server) await(all func() bool) {
	for last := time.After(patience); !all(); {
		select {
		case back := <-s.back:
			s.home(back)
		case <-last:
			return
		}
	}
}

// collect takes in the visits that have come back, and watches again what has rested.
func (s *server) collect() {
	for len(s.back) > 0 {
		s.home(<-s.back)
	}
	resting := s.resting[:0]
	for _, p := range s.resting {
		switch {
		case !p.parked || p.out:
		case s.now.Before(p.rests) || s.watch(p.fd) != nil:
			resting = append(resting, p)
		default:
			p.parked = false
		}
	}
	clear(s.resting[len(resting):])
	s.resting = resting
}

func (s *server) home(p *pipe) {
	s.outs--
	s.resting = append(s.resting, p)
	p.rests = time.Now().Add(asideEvery)
	if time.Since(p.visit.now) > patience {
		s.distrust(p.id)
	}
	s.visited(p)
}

// loop serves until ctx ends, or until another goroutine does because this one was stuck in a visit.
func (s *server) loop(ctx context.Context) {
	goruntime.LockOSThread()
	defer goruntime.UnlockOSThread()
	s.over <- s.rounds(ctx)
}
