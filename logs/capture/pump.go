package capture

import (
	goruntime "runtime"

	"github.com/dynod/dynod/logs/spool"
)

const (
	// perRound bounds what is moved in one round over all pipes before the others get their turn,
	perRound = 16 << 20
	// leastPerPipe what is moved out of one of them.
	leastPerPipe = 64 << 10
)

// pump stages what is in the pipe now, up to limit bytes of it; what comes meanwhile waits for the next round, so that
// many small writes make one move. It tells whether there is so much that the next round cannot wait. It does not return if
// the loop went on without it.
func (s *server) pump(p *pipe, limit int64) (more bool) {
	if p.out || !s.plan(p, limit) {
		return false
	}
	if s.now.Before(p.suspect) {
		s.aside(p)
		return false
	}
	p.out, p.shown = true, p.last()
	p.visit.buf = s.buf
	turn := s.guard.enter(p)
	p.visit.pay()
	if !s.guard.leave(turn) {
		s.handIn(p)
		goruntime.Goexit()
	}
	s.visited(p)
	return p.visit.there > min(limit, pipeBytes/2) && !p.busy
}

// plan says what to do in a pipe that is ready: to move bytes into the stage, if the spool is to have them, otherwise away,
// counted. While the disk works for the stream they stay where they are; if it hangs, as long as there is room for more.
// False: the disk has to do something before.
func (s *server) plan(p *pipe, limit int64) bool {
	p.visit = visit{
		fd: p.fd, stage: p.stage, null: s.null, limit: limit, hole: p.hole, path: p.path, from: p.place(), now: s.now,
	}
	if p.busy {
		p.visit.errand = look
		if s.disk.hangs(s.now) {
			p.visit.errand = relieve
		}
		return true
	}
	if s.now.Before(p.retry) {
		p.visit.errand = toss
		return true
	}
	room, known := p.quota.room(s.now, s.host.limit(len(s.quotas)))
	switch {
	case !p.opened || !known:
		s.submit(p)
		return false
	case room <= 0:
		s.host.grew(0)
		p.visit.errand = toss
	case p.hole != nil || p.due:
		s.submit(p)
		return false
	}
	p.visit.limit = min(limit, room)
	return true
}

// visited takes in what came of a visit, and what the disk did meanwhile.
func (s *server) visited(p *pipe) {
	v := &p.visit
	p.out, p.hole = false, v.hole
	if v.noted != nil {
		s.log.Warn("dropped lines are not counted, only bytes", "dyno", p.id, "stream", p.stream.String(), "error", v.noted)
	}
	if v.moved > 0 {
		p.staged += v.moved
		p.quota.spent(v.moved)
		s.host.grew(v.moved)
		s.submit(p)
	}
	if v.hole != nil {
		s.note(p)
	}
	if v.err != nil && !later(v.err) {
		s.log.Error("reading a pipe failed", "dyno", p.id, "stream", p.stream.String(), "error", v.err)
	}
	if v.there == 0 && v.err == nil || v.err != nil && !later(v.err) {
		s.finish(p)
	}
	if p.owed {
		p.owed = false
		s.done(p)
	}
}

// empty discards what is in the stage. That is written down first: should this capture die in between, the next one goes on
// with it, because what is left comes after what is in the hole.
func (s *server) empty(p *pipe) {
	n, err := spool.Available(p.stage)
	if err != nil || n == 0 {
		return
	}
	p.staged = 0
	h := s.dig(p, p.place())
	h.begin(p.place(), true)
	for err == nil && n > 0 {
		n, err = h.take(p.stage, n, s.null, s.buf)
	}
	h.begin(p.place(), false)
}

// dig gives the stream's hole; a new one begins at from.
func (s *server) dig(p *pipe, from int64) *hole {
	if p.hole == nil {
		p.hole, p.visit.noted = makeHole(p.path, spool.Lost{From: from, Since: s.now})
	}
	return p.hole
}
