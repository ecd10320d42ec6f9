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

// perRound bounds what is moved out of one pipe before the others get their turn.
const perRound = 2 << 20

// pipe is the read end of one stream of a dyno and the place where its bytes go.
type pipe struct {
	key
	fd      int
	writer  *spool.Writer
	quota   *quota
	failing bool // told already that the spool does not take its bytes
}

// add begins to read a pipe; it owns fd whatever it returns.
func (s *server) add(k key, fd int) error {
	w, err := spool.OpenWriter(s.dir(k.id), k.stream, s.cfg.SegmentBytes)
	if err != nil {
		return errors.Join(err, unix.Close(fd))
	}
	if err := s.watch(fd); err != nil {
		return errors.Join(fmt.Errorf("watch pipe: %w", err), w.Close(), unix.Close(fd))
	}
	if s.quotas[k.id] == nil {
		s.quotas[k.id] = &quota{dir: s.dir(k.id), limit: s.cfg.SpoolBytes, step: s.cfg.SegmentBytes}
	}
	p := &pipe{key: k, fd: fd, writer: w, quota: s.quotas[k.id]}
	s.pipes[fd], s.streams[k] = p, p
	s.note(p, true)
	return nil
}

// pump moves what is in the pipe, up to perRound bytes of it.
func (s *server) pump(p *pipe) {
	for moved := int64(0); moved < perRound; {
		n, err := s.move(p)
		switch {
		case errors.Is(err, unix.EAGAIN):
			return
		case err != nil && !errors.Is(err, unix.EINTR):
			s.log.Error("reading a pipe failed", "dyno", p.id, "stream", p.stream.String(), "error", err)
			s.finish(p)
			return
		case err == nil && n == 0:
			s.finish(p)
			return
		}
		moved += n
		s.note(p, true)
	}
}

// move takes bytes out of the pipe once: into the spool if they fit, otherwise away, counted. 0 and nil: end of file.
func (s *server) move(p *pipe) (int64, error) {
	room := p.quota.room(s.now)
	if room <= 0 {
		return s.discard(p)
	}
	before := p.writer.Appended()
	n, err := p.writer.Splice(p.fd, room, s.now)
	p.quota.used += p.writer.Appended() - before
	if err == nil || errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR) {
		p.failing = p.failing && err != nil
		return n, err
	}
	if !p.failing {
		p.failing = true
		s.log.Warn("spool takes no bytes: dropping output", "dyno", p.id, "stream", p.stream.String(), "error", err)
	}
	return s.discard(p)
}

// discard reads away what is in the pipe now. It is counted first: a capture killed in between has told of a loss
// that did not happen, instead of being silent about one that did.
func (s *server) discard(p *pipe) (int64, error) {
	n, err := spool.Available(p.fd)
	if err != nil || n == 0 {
		return 0, err
	}
	if err := p.writer.Drop(n); err != nil && !p.failing {
		p.failing = true
		s.log.Warn("dropped output is not counted on disk", "dyno", p.id, "stream", p.stream.String(), "error", err)
	}
	for left := n; left > 0; {
		got, err := unix.Splice(p.fd, nil, s.null, nil, int(left), unix.SPLICE_F_NONBLOCK)
		if got <= 0 && !errors.Is(err, unix.EINTR) {
			break // a dyno may open its own pipe and read from it
		}
		left -= max(0, got)
	}
	return n, nil
}

// finish closes the stream's life: nothing more will come out of this pipe.
func (s *server) finish(p *pipe) {
	if err := p.writer.End(); err != nil {
		s.log.Error("end of a stream is not marked", "dyno", p.id, "stream", p.stream.String(), "error", err)
	}
	s.drop(p)
	s.note(p, false)
}

// drop stops reading a pipe.
func (s *server) drop(p *pipe) {
	delete(s.pipes, p.fd)
	delete(s.streams, p.key)
	_ = unix.Close(p.fd)
	_ = p.writer.Close()
	if s.streams[key{p.id, spool.Stdout}] == nil && s.streams[key{p.id, spool.Stderr}] == nil {
		delete(s.quotas, p.id)
	}
}

// quota is a dyno's part of the spool.
type quota struct {
	dir     string
	limit   int64
	step    int64
	used    int64
	full    bool
	checked time.Time
}

// recount is the least time between two looks at the disk: the agent removes files without telling.
const recount = 50 * time.Millisecond

// room is how many bytes the dyno may still write. Once full, it stays so until a whole segment was removed: one hole
// instead of many.
func (q *quota) room(now time.Time) int64 {
	if !q.checked.IsZero() && !q.full && q.used < q.limit {
		return q.limit - q.used
	}
	if now.Sub(q.checked) >= recount {
		used, err := spool.Usage(q.dir)
		if err == nil {
			q.used = used
		}
		q.checked, q.full = now, q.used > q.limit-q.step
	}
	if q.full {
		return 0
	}
	return q.limit - q.used
}
