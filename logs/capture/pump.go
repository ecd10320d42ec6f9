package capture

import "github.com/dynod/dynod/logs/spool"

const (
	// perRound bounds what is moved in one round over all pipes before the others get their turn,
	perRound = 16 << 20
	// leastPerPipe what is moved out of one of them.
	leastPerPipe = 64 << 10
)

// pump stages what is in the pipe now, up to limit bytes of it; what comes meanwhile waits for the next round, so that
// many small writes make one move. It tells whether there is so much that the next round cannot wait.
func (s *server) pump(p *pipe, limit int64) (more bool) {
	busy := p.busy
	there, err := spool.Available(p.fd)
	switch {
	case err == nil && there > 0:
		err = s.move(p, min(there, limit))
	case err == nil:
		s.finish(p)
	}
	if err != nil && !later(err) {
		s.log.Error("reading a pipe failed", "dyno", p.id, "stream", p.stream.String(), "error", err)
		s.finish(p)
	}
	return there > min(limit, pipeBytes/2) && !busy
}

// move takes bytes out of the pipe once: into the stage, if the spool is to have them, otherwise away, counted. While the
// disk works for the stream, or has to before, they stay where they are; if it hangs, as long as there is room for more.
func (s *server) move(p *pipe, limit int64) error {
	if p.busy {
		if s.disk.hangs(s.now) && full(p.fd) {
			return s.discard(p)
		}
		return nil
	}
	if s.now.Before(p.retry) {
		return s.discard(p)
	}
	room, known := p.quota.room(s.now, s.host.limit(len(s.quotas)))
	switch {
	case !p.opened || !known:
		s.submit(p)
		return nil
	case room <= 0:
		s.host.grew(0)
		return s.discard(p)
	case p.hole != nil || p.due:
		s.submit(p)
		return nil
	}
	n, err := splice(p.fd, p.stage, nil, min(limit, room))
	if n > 0 {
		p.staged += n
		p.quota.spent(n)
		s.host.grew(n)
		s.submit(p)
	}
	return err
}

// discard takes what is in the pipe now, and counts it.
func (s *server) discard(p *pipe) error {
	n, err := spool.Available(p.fd)
	if err != nil || n == 0 {
		return err
	}
	_, err = s.dig(p, p.place()).take(p.fd, n, s.null, s.buf)
	s.note(p)
	return err
}

// empty discards what is in the stage. The position is written down first: should this capture die in between, the next
// one knows by what is in the stage where the hole begins.
func (s *server) empty(p *pipe) {
	n, err := spool.Available(p.stage)
	if err != nil || n == 0 {
		return
	}
	p.staged = 0
	h := s.dig(p, p.place())
	h.begin(p.place())
	for err == nil && n > 0 {
		n, err = h.take(p.stage, n, s.null, s.buf)
	}
}

// dig gives the stream's hole; a new one begins at from.
func (s *server) dig(p *pipe, from int64) *hole {
	if p.hole == nil {
		var err error
		if p.hole, err = makeHole(s.holePath(p.key), spool.Lost{From: from, Since: s.now}); err != nil {
			s.log.Warn("dropped lines are not counted, only bytes", "dyno", p.id, "stream", p.stream.String(), "error", err)
		}
	}
	return p.hole
}
