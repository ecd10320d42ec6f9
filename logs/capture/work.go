package capture

import (
	"errors"

	"github.com/dynod/dynod/logs/spool"
)

// submit has the disk do what there is to do for a stream: to open it, or to write what is staged and to mark what is
// known beyond it.
func (s *server) submit(p *pipe) {
	if p.busy || p.out {
		return
	}
	p.busy = true
	p.job = job{
		dir: s.dir(p.id), stream: p.stream, segment: s.cfg.SegmentBytes, stage: p.stage, now: s.now,
		writer: p.job.writer, close: p.eof || s.closing,
	}
	if p.hole != nil {
		lost := p.hole.Lost
		p.job.hole, p.job.until, p.job.torn = &lost, p.hole.end(), p.hole.torn
		p.job.early = p.lost && s.now.Sub(s.began) < adoption
	}
	if p.opened {
		p.job.ended, p.due = p.due, false
		p.job.bytes = p.staged
	}
	if p.quota != nil {
		_, known := p.quota.space(s.now, s.host.limit(len(s.quotas)))
		p.job.count = !known
	}
	s.batch = append(s.batch, p)
}

// work hands the disk what is to be done and takes back what is done. It waits a moment for that, but not for a disk that
// is late.
func (s *server) work() {
	s.apply(s.disk.take(0))
	for len(s.batch) > 0 && !s.disk.out {
		s.disk.give(s.batch)
		s.batch = s.spare[:0]
		s.apply(s.disk.take(patience))
	}
}

func (s *server) apply(batch []*pipe) {
	for _, p := range batch {
		if p.owed = p.out; !p.out {
			s.done(p)
		}
	}
	if batch != nil {
		clear(batch)
		s.spare = batch
	}
}

// done takes in what the disk did for a stream.
func (s *server) done(p *pipe) {
	p.busy = false
	s.account(p)
	if s.streams[p.key] != p && s.ended[p.key] != p {
		return // another one goes on with the stream
	}
	s.note(p)
	switch j := &p.job; {
	case j.err != nil:
		s.refused(p)
	case !p.opened:
		s.opened(p)
	default:
		s.written(p)
	}
	if p.eof {
		s.conclude(p)
	}
}

// account says what the spool has grown by beside what was counted when it was staged.
func (s *server) account(p *pipe) {
	j := &p.job
	beside := j.grown - j.moved
	if p.quota != nil {
		p.quota.grew(beside)
		if j.count {
			p.quota.counted(s.taken(p), s.now, s.host.limit(len(s.quotas)))
		}
	}
	s.host.grew(beside)
}

// taken is what the dyno has in the spool, -1 if that could not be seen. It was counted before the stream's own bytes were
// written, and what the other stream has staged is still to come.
func (s *server) taken(p *pipe) int64 {
	j := &p.job
	if j.used < 0 {
		return -1
	}
	used := j.used + j.grown
	for _, stream := range []spool.Stream{spool.Stdout, spool.Stderr} {
		if other := s.streams[key{p.id, stream}]; other != nil && other != p {
			used += other.staged
		}
	}
	return used
}

// refused leaves a spool that takes no bytes alone for a while. What is staged goes: an end of a life must not wait for it.
func (s *server) refused(p *pipe) {
	p.retry = s.now.Add(recount)
	p.due = p.due || p.job.ended
	if p.opened {
		p.end, p.staged = p.job.writer.Offset(), p.staged-p.job.moved
	}
	s.empty(p)
	if !p.failing && !errors.Is(p.job.err, errEarly) {
		p.failing = true
		s.log.Warn("spool takes no bytes: dropping output", "dyno", p.id, "stream", p.stream.String(), "error", p.job.err)
	}
}

// opened learns where the stream stands.
func (s *server) opened(p *pipe) {
	p.opened, p.end, p.staged = true, p.job.writer.Offset(), p.job.staged
	p.due = p.due || p.fresh && p.place() > 0
	if p.hole != nil && p.hole.torn {
		s.empty(p)
	}
	if p.hole != nil && !p.hole.resume(p.end, p.staged) {
		p.hole.remove()
		p.hole = nil
	}
	if p.staged > 0 || p.due { // an end that this process alone knew would be lost with it
		s.submit(p)
	}
}

// written learns what the spool has taken.
func (s *server) written(p *pipe) {
	p.failing, p.end, p.staged = false, p.job.writer.Offset(), 0
	if p.hole != nil && p.job.hole != nil && p.hole.end() == p.job.until {
		p.hole.remove()
		p.hole = nil
	}
}
