package logs

import (
	"context"
	"slices"
	"time"

	"github.com/cenkalti/backoff/v5"
)

const (
	maxLines    = 500                    // of a batch
	maxBytes    = 1 << 20                // of a batch's texts: far below what a gRPC message may hold
	linger      = 250 * time.Millisecond // from a batch's first line until it is sent
	quantum     = 32                     // lines of one stream before the next one's turn
	sendTimeout = 30 * time.Second       // for one attempt
)

// shipper is the one goroutine that sends. It owns the sources.
type shipper struct {
	*Logs
	sources map[*stream]*source
	id      uint64
	bytes   int // of the batch being filled
}

// ship sends until ctx ends. What is read but not sent then is read again: every connection to capture queues all streams.
func (l *Logs) ship(ctx context.Context) {
	s := &shipper{Logs: l, sources: map[*stream]*source{}}
	defer func() {
		for _, src := range s.sources {
			src.close()
		}
	}()
	for {
		b, ok := s.collect(ctx)
		if !ok {
			return
		}
		s.deliver(ctx, b)
	}
}

// collect waits for lines and gives a batch when it is full or its first line old enough; false when ctx ends.
func (s *shipper) collect(ctx context.Context) (Batch, bool) {
	s.id++
	s.bytes = 0
	b := Batch{ID: s.id}
	var due <-chan time.Time
	for !s.fill(&b) {
		if due == nil && len(b.Lines) > 0 {
			due = time.After(linger)
		}
		select {
		case <-s.wake:
		case <-due:
			return b, true
		case <-ctx.Done():
			return b, false
		}
	}
	return b, ctx.Err() == nil
}

func (s *shipper) full(b *Batch) bool { return len(b.Lines) >= maxLines || s.bytes >= maxBytes }

// fill takes lines, every waiting stream in its turn, until there are no more or the batch is full.
func (s *shipper) fill(b *Batch) bool {
	for !s.full(b) {
		st := s.pop()
		if st == nil {
			return false
		}
		s.take(b, st)
	}
	return true
}

// pop gives the stream whose turn it is, nil if none waits.
func (s *shipper) pop() *stream {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.queue) > 0 {
		st := s.queue[0]
		s.queue = s.queue[1:]
		st.queued = false
		if !st.dyno.removed {
			return st
		}
		s.sources[st].close()
		delete(s.sources, st)
	}
	s.queue = nil
	return nil
}

// take moves one quantum of lines into the batch; a stream with more goes to the end of the queue.
func (s *shipper) take(b *Batch, st *stream) {
	src := s.source(st)
	for range quantum {
		if s.full(b) {
			break
		}
		line, ok, err := src.next()
		if err != nil {
			s.log.Warn("part of a spool is unreadable", "dyno", st.Dyno, "stream", st.Stream.String(), "error", err)
			continue
		}
		if !ok {
			return
		}
		b.Lines = append(b.Lines, line)
		s.bytes += len(line.Text)
	}
	s.again(st)
}

func (s *shipper) again(st *stream) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.enqueue(st)
}

func (s *shipper) source(st *stream) *source {
	if s.sources[st] == nil {
		s.mu.Lock()
		from := st.acked
		s.mu.Unlock()
		s.sources[st] = newSource(s.dir(st.Dyno), st.Key, from)
	}
	return s.sources[st]
}

// deliver sends a batch until some of it is delivered. Lines that are not will be read again.
func (s *shipper) deliver(ctx context.Context, b Batch) {
	pause := backoff.NewExponentialBackOff()
	pause.InitialInterval, pause.MaxInterval = 100*time.Millisecond, 5*time.Second
	for len(b.Lines) > 0 {
		ack, err := s.send(ctx, b)
		if ctx.Err() != nil {
			return
		}
		if err == nil {
			if s.settle(b, ack) {
				return
			}
			s.log.Warn("upstream acknowledges nothing of a batch", "batch", b.ID)
		} else {
			s.log.Warn("log lines are not delivered", "batch", b.ID, "lines", len(b.Lines), "error", err)
		}
		sleep(ctx, pause.NextBackOff())
		b = s.without(b)
	}
}

func (s *shipper) send(ctx context.Context, b Batch) (Ack, error) {
	ctx, cancel := context.WithTimeout(ctx, sendTimeout)
	defer cancel()
	return s.sink.Send(ctx, b)
}

// without drops the lines of dynos that were removed meanwhile.
func (s *shipper) without(b Batch) Batch {
	s.mu.Lock()
	defer s.mu.Unlock()
	b.Lines = slices.DeleteFunc(slices.Clone(b.Lines), func(line Line) bool { return s.dynos[line.Dyno] == nil })
	return b
}

// settle takes in an ack. It tells whether anything was delivered; only then are lines left over given up to be read
// again from the spool.
func (s *shipper) settle(b Batch, ack Ack) bool {
	reached, missing := map[Key]int64{}, map[Key]bool{}
	for _, line := range b.Lines {
		k := Key{line.Dyno, line.Stream}
		if missing[k] = missing[k] || line.End() > ack.Offsets[k]; !missing[k] {
			reached[k] = line.End()
		}
	}
	if len(reached) == 0 {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for k, again := range missing {
		if d := s.dynos[k.Dyno]; d != nil {
			s.acknowledge(d.stream(k.Stream), reached[k], again)
		}
	}
	return true
}

// acknowledge moves a stream's cursor. The caller holds mu.
func (s *shipper) acknowledge(st *stream, offset int64, again bool) {
	if s.sources[st] == nil {
		return // removed meanwhile, and known again since
	}
	st.acked = max(st.acked, offset)
	if again {
		s.sources[st].close()
		delete(s.sources, st)
		s.enqueue(st)
	}
	if st.acked-st.dyno.saved[st.Stream] >= s.saveAfter() {
		poke(s.kick)
	}
	st.dyno.tell()
}
