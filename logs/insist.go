package logs

import (
	"context"
	"slices"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/containerd/errdefs"
)

const (
	// maxRefusals is how often a batch, and then a line alone, may be refused until it is left out.
	maxRefusals = 3
	// barTime is how long a stream waits of which not even a notice of loss is taken.
	barTime = 30 * time.Second
)

func newPause() *backoff.ExponentialBackOff {
	pause := backoff.NewExponentialBackOff()
	pause.InitialInterval, pause.MaxInterval = 100*time.Millisecond, 5*time.Second
	return pause
}

// refused tells that a batch reached the receiver, which does not want it. Everything else is trouble on the way.
func refused(a answer) bool { return a.err == nil || errdefs.IsInvalidArgument(a.err) }

// insist sends a batch of which nothing was delivered, as answered by a, until some of it is or ctx ends. A batch that
// is refused too often is taken apart.
func (s *shipper) insist(ctx context.Context, b Batch, a answer) {
	pause := newPause()
	for refusals := 0; ctx.Err() == nil; {
		s.log.Warn("log lines are not delivered", "batch", b.ID, "lines", len(b.Lines), "error", a.err)
		if refused(a) {
			refusals++
		}
		if refusals == maxRefusals {
			s.isolate(ctx, b.Lines)
			return
		}
		sleep(ctx, pause.NextBackOff())
		if b.Lines = s.present(b.Lines); len(b.Lines) == 0 {
			return
		}
		if a = s.send(ctx, b); s.taken(b, a) > 0 {
			return
		}
	}
}

func (s *shipper) send(ctx context.Context, b Batch) answer {
	ctx, cancel := context.WithTimeout(ctx, sendTimeout)
	defer cancel()
	ack, err := s.sink.Send(ctx, b)
	return answer{ack, err}
}

// present gives the lines without those of streams that were removed or barred meanwhile.
func (s *shipper) present(lines []Line) []Line {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(lines), func(line Line) bool {
		d := s.dynos[line.Dyno]
		return d == nil || d.stream(line.Stream).barred
	})
}

// isolate delivers what can be of lines that are refused together: by halves, down to the line at fault. False: there
// is trouble of another kind, or ctx ended.
func (s *shipper) isolate(ctx context.Context, lines []Line) bool {
	if len(lines) == 1 {
		return s.single(ctx, lines[0])
	}
	for _, half := range [][]Line{lines[:len(lines)/2], lines[len(lines)/2:]} {
		if half = s.present(half); len(half) == 0 {
			continue
		}
		b := s.number(half)
		a := s.send(ctx, b)
		n := s.taken(b, a)
		if n == len(half) {
			continue
		}
		if ctx.Err() != nil || n > 0 || !refused(a) || !s.isolate(ctx, half) {
			return false
		}
	}
	return true
}

// single leaves a line out that is refused alone, too: in its place goes a notice of loss. If that is refused as well
// the receiver wants nothing of this stream, and all of it waits.
func (s *shipper) single(ctx context.Context, line Line) bool {
	pause := newPause()
	for range maxRefusals {
		b := s.number([]Line{line})
		switch a := s.send(ctx, b); {
		case s.taken(b, a) > 0:
			return true
		case !refused(a):
			return false
		}
		sleep(ctx, pause.NextBackOff())
	}
	notice := s.number([]Line{{
		Dyno: line.Dyno, Stream: line.Stream, Offset: line.End(), Time: line.Time, Lost: line.Lost + line.Size, LostLines: line.LostLines,
	}})
	switch a := s.send(ctx, notice); {
	case s.taken(notice, a) > 0:
		s.stats.lost.Add(1)
		s.log.Warn("a log line is refused for good and left out", "dyno", line.Dyno, "stream", line.Stream.String(), "offset", line.Offset)
		return true
	case !refused(a):
		return false
	}
	s.bar(line)
	return ctx.Err() == nil
}

// bar keeps a stream from being sent for a while.
func (s *shipper) bar(line Line) {
	s.mu.Lock()
	defer s.mu.Unlock()
	d := s.dynos[line.Dyno]
	if d == nil {
		return
	}
	st := d.stream(line.Stream)
	st.barred = true
	s.log.Warn("a log stream is refused and has to wait", "dyno", line.Dyno, "stream", line.Stream.String())
	time.AfterFunc(barTime, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		st.barred = false
		s.enqueue(st)
	})
}
