package logs

import (
	"bytes"
	"context"
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
		s.log.Warn("log lines are not delivered", "batch", b.ID, "runs", len(b.Runs), "error", a.err)
		if refused(a) {
			refusals++
		}
		if refusals == maxRefusals {
			s.isolate(ctx, b.Runs)
			return
		}
		sleep(ctx, pause.NextBackOff())
		if b.Runs = s.present(b.Runs); len(b.Runs) == 0 {
			return
		}
		var got tally
		if a, got, _ = s.send(ctx, b); got.any {
			return
		}
	}
}

// send sends a batch while no other is under way.
func (s *shipper) send(ctx context.Context, b Batch) (a answer, got tally, whole bool) {
	ctx, cancel := context.WithTimeout(ctx, sendTimeout)
	defer cancel()
	a.ack, a.err = s.sink.Send(ctx, b)
	s.settle(b, a)
	got, whole = s.delivered(b)
	s.stats.delivered(got)
	return a, got, whole
}

// isolate delivers what can be of runs that are refused together: by halves, down to the line at fault. False: there
// is trouble of another kind, or ctx ended.
func (s *shipper) isolate(ctx context.Context, runs []Run) bool {
	halves := halve(runs)
	if len(halves) == 1 {
		return s.single(ctx, runs[0])
	}
	for _, half := range halves {
		if half = s.present(half); len(half) == 0 {
			continue
		}
		a, got, whole := s.send(ctx, s.number(half))
		if whole {
			continue
		}
		if ctx.Err() != nil || got.any || !refused(a) || !s.isolate(ctx, half) {
			return false
		}
	}
	return true
}

// halve divides runs in two, unless they are one line.
func halve(runs []Run) [][]Run {
	if n := len(runs) / 2; n > 0 {
		return [][]Run{runs[:n], runs[n:]}
	}
	if n := runs[0].middle(); n > 0 {
		return [][]Run{{runs[0].upTo(n)}, {runs[0].from(n)}}
	}
	return [][]Run{runs}
}

// single leaves a line out that is refused alone, too: in its place goes a notice of loss. If that is refused as well
// the receiver wants nothing of this stream, and all of it waits.
func (s *shipper) single(ctx context.Context, line Run) bool {
	pause := newPause()
	for range maxRefusals {
		switch a, _, whole := s.send(ctx, s.number([]Run{line})); {
		case whole:
			return true
		case !refused(a):
			return false
		}
		sleep(ctx, pause.NextBackOff())
	}
	notice := lossOf(line)
	switch a, _, whole := s.send(ctx, s.number([]Run{notice})); {
	case whole:
		s.stats.lost.Add(1)
		s.stats.dropped.Add(line.LostLines - notice.LostLines) // it counts as lost alone
		s.log.Warn("a log line is refused for good and left out", "dyno", line.Dyno, "stream", line.Stream.String(), "offset", line.Offset)
		return true
	case !refused(a):
		return false
	}
	s.bar(line)
	return ctx.Err() == nil
}

// lossOf only tells that a line is lost, with what was lost before it.
func lossOf(line Run) Run {
	notice := Run{
		Key: line.Key, Offset: line.End(), Time: line.Time,
		Lost: line.Lost + int64(len(line.Text)), LostLines: line.LostLines, LostSince: line.LostSince,
	}
	if line.Lost == 0 || line.LostLines > 0 { // otherwise nobody counted those before
		notice.LostLines += int64(bytes.Count(line.Text, []byte{'\n'}))
	}
	return notice
}

// bar keeps a stream from being sent for a while.
func (s *shipper) bar(line Run) {
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
