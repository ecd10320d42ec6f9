package capture

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dynod/dynod/logs/spool"
)

// pipeBytes is asked for each pipe: what a dyno can write while nobody reads.
const pipeBytes = 1 << 20

// adoption is how long a hole waits for the stage whose bytes come before it.
const adoption = time.Minute

// pipe is one stream of a dyno: its read end, its stage, and the place where its bytes go. In the stream come, in this
// order: what is in the spool, what is in the stage, the hole, what is in the dyno's pipe. So nothing is staged while
// there is a hole that the spool does not count.
type pipe struct {
	key
	fd    int // read end, -1: let go of
	stage int // -1: let go of, or never seen
	eof   bool
	quota *quota

	job    job
	busy   bool   // the disk has the job, the stage and the writer: nobody else touches them
	opened bool   // it is known where the stream stands
	fresh  bool   // what is in the spool belongs to an older life, whose end may not be marked yet
	due    bool   // a life ended of which the disk was not told
	lost   bool   // it has neither pipe nor stage: a hole is all that is known
	end    int64  // position after what is in the spool
	staged int64  // bytes in the stage
	hole   *hole  // what is being discarded, nil if nothing is
	path   string // where it is counted

	visit   visit
	out     bool      // it is under way: nobody else touches it, the pipe, the stage and the hole
	owed    bool      // what the disk did meanwhile is not taken in yet
	shown   int64     // last as it was before
	parked  bool      // the pipe is not watched
	suspect time.Time // until then visits are paid aside
	late    int       // visits that took too long
	rests   time.Time // when it is watched again

	failing bool      // told already that the spool does not take its bytes
	retry   time.Time // when the spool is tried again
	told    time.Time // when the agent was told last
}

// resumed goes on with a stream that is not read: where its last life ended, of which not all may be in the spool yet.
func (s *server) resumed(k key) *pipe {
	p := &pipe{key: k, fd: -1, stage: -1, path: s.holePath(k)}
	if last := s.ended[k]; last != nil {
		p.hole, p.due = last.hole, !last.lost
		last.hole = nil
		delete(s.ended, k)
		return p
	}
	p.hole = s.found(k)
	return p
}

// add begins to read a pipe. A stage of -1 is made, a pipe of -1 has been read to its end. It owns both whatever it
// returns.
func (s *server) add(k key, fd, stage int) (*pipe, error) {
	p := s.streams[k]
	if p != nil { // read to its end; what is staged of the older life is written first
		shut(stage)
		stage = p.stage
	}
	var err error
	if stage < 0 {
		stage, err = newStage()
	}
	if err == nil && fd >= 0 {
		err = s.watch(fd)
	}
	if err != nil {
		shut(fd)
		if p == nil {
			shut(stage)
		}
		return nil, fmt.Errorf("read pipe: %w", err)
	}
	if p == nil {
		p = s.resumed(k)
	}
	s.letGo(p)
	p.fd, p.stage, p.eof = fd, stage, fd < 0
	s.count(p)
	s.note(p)
	s.submit(p)
	return p, nil
}

// place is where the stream goes on after what is in the stage.
func (p *pipe) place() int64 {
	if !p.opened {
		return unknown
	}
	return p.end + p.staged
}

// last is the position after the last byte that is in the spool or was discarded.
func (p *pipe) last() int64 {
	if p.out {
		return p.shown
	}
	if p.hole != nil && p.hole.From != unknown {
		return p.hole.end()
	}
	return p.end
}

// count has a stream among those that are read.
func (s *server) count(p *pipe) {
	if s.quotas[p.id] == nil {
		s.quotas[p.id] = &quota{limit: s.cfg.SpoolBytes, step: s.cfg.SegmentBytes, rate: s.cfg.IngestBytes}
	}
	p.quota = s.quotas[p.id]
	s.streams[p.key] = p
	if p.fd >= 0 {
		s.pipes[p.fd] = p
	}
}

// finish says that nothing more comes out of the pipe: the life of the stream is over. The read end is held until the
// stage is empty, for the next capture to find them together.
func (s *server) finish(p *pipe) {
	p.eof, p.due = true, true
	s.unwatch(p)
	s.conclude(p)
}

// conclude does what is left to do for a stream that is read to its end.
func (s *server) conclude(p *pipe) {
	switch {
	case p.busy:
	case s.now.Before(p.retry): // by now nothing is in the stage
		if s.ended[p.key] != p {
			s.ended[p.key] = p
			s.drop(p)
		}
	case !p.opened, p.due, p.hole != nil, !p.job.closed:
		s.submit(p)
	default:
		delete(s.ended, p.key)
		s.drop(p)
	}
}

// drop lets go of a stream's descriptors.
func (s *server) drop(p *pipe) {
	s.store.remove(p.key)
	s.letGo(p)
	shut(p.stage)
	p.stage = -1
	delete(s.streams, p.key)
	if s.streams[key{p.id, spool.Stdout}] == nil && s.streams[key{p.id, spool.Stderr}] == nil {
		delete(s.quotas, p.id)
	}
	s.note(p)
}

// letGo closes the read end. Others hold copies of it, so that closing alone would not end the watching.
func (s *server) letGo(p *pipe) {
	if p.fd < 0 {
		return
	}
	s.unwatch(p)
	delete(s.pipes, p.fd)
	shut(p.fd)
	p.fd = -1
}

// home tells that no visit is under way.
func (p *pipe) home() bool { return !p.out }

func (s *server) unwatch(p *pipe) {
	_ = unix.EpollCtl(s.epoll, unix.EPOLL_CTL_DEL, p.fd, nil)
	p.parked = false
}

// shut closes ends of pipes. The last one to do so takes the pipe's lock.
func shut(fds ...int) { go closeAll(fds) }

// retire tries again to mark the ends of streams.
func (s *server) retire() {
	if len(s.ended) == 0 || s.now.Sub(s.retired) < retireEvery {
		return
	}
	s.retired = s.now
	for _, p := range s.ended {
		s.submit(p)
	}
}

// settle counts in the spool what was discarded of streams that nobody reads any more.
func (s *server) settle() {
	for _, k := range s.foundHoles() {
		if s.streams[k] == nil {
			p := s.resumed(k)
			p.eof, p.lost = true, true
			s.ended[k] = p
		}
	}
}
