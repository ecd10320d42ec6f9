package capture

import (
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dynod/dynod/logs/spool"
)

// pipeBytes is asked for each pipe: what a dyno can write while nobody reads.
const pipeBytes = 1 << 20

const (
	// perRound bounds what is moved in one round over all pipes before the others get their turn,
	perRound = 16 << 20
	// perPipe and leastPerPipe what is moved out of one of them.
	perPipe      = 2 << 20
	leastPerPipe = 64 << 10
)

const (
	// stalled is longer than any write takes on a disk that works, even on a host that is short of CPU.
	stalled = 2 * time.Second
	// rest is how long a disk is left alone after it, in times of what it took.
	rest        = 4
	longestRest = 10 * time.Second
)

// pipe is the read end of one stream of a dyno and the place where its bytes go.
type pipe struct {
	key
	fd      int
	writer  *spool.Writer
	quota   *quota
	hole    *hole     // what is being discarded, nil if nothing is or nobody can count it there
	failing bool      // told already that the spool does not take its bytes
	retry   time.Time // when the spool is tried again
	told    time.Time // when the agent was told last
}

// newPipe makes a pipe as large as is allowed.
func newPipe() (fds [2]int, err error) {
	err = unix.Pipe2(fds[:], unix.O_CLOEXEC)
	for size := pipeBytes; err == nil && size > 64<<10; size /= 2 {
		if _, refused := unix.FcntlInt(uintptr(fds[0]), unix.F_SETPIPE_SZ, size); refused == nil {
			break
		}
	}
	return fds, err
}

// add begins to read a pipe; it owns fd whatever it returns.
func (s *server) add(k key, fd int) error {
	p, err := s.continued(k)
	if err != nil {
		return errors.Join(err, unix.Close(fd))
	}
	if err := s.watch(fd); err != nil {
		return errors.Join(fmt.Errorf("watch pipe: %w", err), p.close(), unix.Close(fd))
	}
	if s.quotas[k.id] == nil {
		s.quotas[k.id] = &quota{
			dir: s.dir(k.id), limit: s.cfg.SpoolBytes, step: s.cfg.SegmentBytes, rate: s.cfg.IngestBytes,
		}
	}
	p.fd, p.quota = fd, s.quotas[k.id]
	s.pipes[fd], s.streams[k] = p, p
	s.note(p, true)
	return nil
}

// continued goes on where a stream stands: in the memory of its last life, if not all of that is in the spool yet, or in
// the spool.
func (s *server) continued(k key) (*pipe, error) {
	if last := s.ended[k]; last != nil {
		delete(s.ended, k)
		return &pipe{key: k, writer: last.writer, hole: last.hole}, nil
	}
	p := &pipe{key: k, hole: s.found(k)}
	var err error
	if p.writer, err = spool.OpenWriter(s.dir(k.id), k.stream, s.cfg.SegmentBytes); err != nil {
		if p.hole == nil {
			return nil, err
		}
		// The hole began where the spool ended.
		p.writer = spool.UnreadWriter(s.dir(k.id), k.stream, s.cfg.SegmentBytes)
	}
	p.resume()
	return p, nil
}

// resume goes on with the hole that an earlier capture was killed in, unless the spool counts it already.
func (p *pipe) resume() {
	if p.hole != nil && p.hole.end() > p.writer.Offset() {
		p.writer.Reopen(p.hole.Lost, p.hole.end())
	}
	p.filled()
}

// close brings into the spool what is known of the stream. After an error it may be tried again.
func (p *pipe) close() error {
	err := p.writer.Close()
	p.filled()
	return err
}

// pump moves what is in the pipe now, up to limit bytes of it; what comes meanwhile waits for the next round, so that
// many small writes make one move. It tells whether there is so much that the next round cannot wait.
func (s *server) pump(p *pipe, limit int64) (more bool) {
	there, err := spool.Available(p.fd)
	for left := min(there, limit); err == nil && left > 0; {
		var n int64
		n, err = s.move(p, left)
		if err == nil && n == 0 {
			break
		}
		left -= n
		s.note(p, true)
	}
	switch {
	case err == nil && there == 0:
		s.finish(p)
	case err != nil && !later(err):
		s.log.Error("reading a pipe failed", "dyno", p.id, "stream", p.stream.String(), "error", err)
		s.finish(p)
	}
	return there > min(limit, pipeBytes/4)
}

// move takes bytes out of the pipe once: into the spool if they fit, otherwise away, counted. 0 and nil: end of file.
func (s *server) move(p *pipe, limit int64) (int64, error) {
	room := min(limit, p.quota.room(s.now, s.host.limit(len(s.quotas))))
	if room <= 0 || s.now.Before(p.retry) || s.now.Before(s.resting) {
		s.host.grew(0)
		return s.discard(p)
	}
	before, began := p.writer.Appended(), time.Now()
	n, err := p.writer.Splice(p.fd, room, s.now)
	s.took(began)
	p.quota.spent(n, p.writer.Appended()-before)
	s.host.grew(p.writer.Appended() - before)
	if err == nil || later(err) {
		p.failing = p.failing && err != nil
		p.filled()
		return n, err
	}
	p.retry = s.now.Add(recount)
	if !p.failing {
		p.failing = true
		s.log.Warn("spool takes no bytes: dropping output", "dyno", p.id, "stream", p.stream.String(), "error", err)
	}
	return s.discard(p)
}

// took lets a disk rest that made everybody wait: while it does so no dyno is read.
func (s *server) took(began time.Time) {
	if took := time.Since(began); took > stalled {
		s.resting = time.Now().Add(min(rest*took, longestRest))
		s.log.Warn("the spool's disk is slow: dropping output", "took", took, "until", s.resting)
	}
}

// filled forgets the hole when the spool counts it.
func (p *pipe) filled() {
	if p.hole != nil && p.writer.Settled() {
		p.hole.remove()
		p.hole = nil
	}
}

// discard takes what is in the pipe now, and counts it.
func (s *server) discard(p *pipe) (int64, error) {
	n, err := spool.Available(p.fd)
	if err != nil || n == 0 {
		return 0, err
	}
	if p.hole == nil && p.writer.Settled() {
		if p.hole, err = makeHole(s.holePath(p.key), spool.Lost{From: p.writer.Offset(), Since: s.now}); err != nil {
			s.log.Warn("dropped lines are not counted, only bytes", "dyno", p.id, "stream", p.stream.String(), "error", err)
		}
	}
	if p.hole != nil && !p.hole.stuck {
		n, lines, err := p.hole.take(p.fd, n, s.buf)
		if !p.hole.stuck {
			if err == nil {
				p.writer.Drop(n, lines, s.now)
			}
			return n, err
		}
	}
	n, err = unix.Splice(p.fd, nil, s.null, nil, int(n), unix.SPLICE_F_NONBLOCK)
	if err == nil {
		p.writer.Drop(n, 0, s.now)
	}
	return n, err
}

// finish closes the stream's life: nothing more will come out of this pipe.
func (s *server) finish(p *pipe) {
	s.store.remove(p.key)
	s.drop(p)
	_ = p.writer.End() // what it could not do, close tries
	if err := p.close(); err != nil {
		s.log.Warn("end of a stream is not marked yet", "dyno", p.id, "stream", p.stream.String(), "error", err)
		s.ended[p.key] = p
	}
	s.note(p, false)
}

// drop stops reading a pipe.
func (s *server) drop(p *pipe) {
	delete(s.pipes, p.fd)
	delete(s.streams, p.key)
	_ = unix.Close(p.fd)
	if s.streams[key{p.id, spool.Stdout}] == nil && s.streams[key{p.id, spool.Stderr}] == nil {
		delete(s.quotas, p.id)
	}
}

// retire tries again to mark the ends of streams; the agent is told to look again.
func (s *server) retire() {
	if len(s.ended) == 0 || s.now.Sub(s.retired) < retireEvery {
		return
	}
	s.retired = s.now
	for k, p := range s.ended {
		if p.close() == nil {
			delete(s.ended, k)
			s.note(p, false)
		}
	}
}
