package logs

import (
	"context"
	"time"
)

const (
	maxLines    = 500                    // of a batch
	maxBytes    = 256 << 10              // of a batch's texts: what a quiet dyno's line may have to wait for
	linger      = 250 * time.Millisecond // from a batch's first line until it is sent
	sendTimeout = 30 * time.Second       // for one attempt
	maxFlights  = 4                      // batches under way at once, where the sink is a Pipeline
)

// shipper is the one goroutine that sends upstream. It owns the sources.
type shipper struct {
	*Logs
	sources map[*stream]*source
	id      uint64

	batch Batch            // being filled
	bytes int              // of its texts
	due   <-chan time.Time // when it is old enough

	flights []*flight // under way, oldest first
	window  int       // how many there may be: one after trouble, one more with every batch that is taken whole
}

// flight is a batch under way.
type flight struct {
	batch  Batch
	answer chan answer
}

type answer struct {
	ack Ack
	err error
}

// ship sends until ctx ends. What is read but not sent then is read again: every connection to capture queues all streams.
func (l *Logs) ship(ctx context.Context) {
	s := &shipper{Logs: l, sources: map[*stream]*source{}, window: 1}
	defer s.rewind()
	for ctx.Err() == nil {
		if s.fill(); s.ready() && len(s.flights) < s.window {
			s.launch(ctx)
			continue
		}
		s.await(ctx)
	}
	for len(s.flights) > 0 { // their goroutines end with ctx
		<-s.takeOff().answer
	}
}

// await returns when there is something to do.
func (s *shipper) await(ctx context.Context) {
	var wake <-chan struct{}
	if !s.full() {
		wake = s.wake
	}
	due := s.due
	if due == closedTime {
		due = nil
	}
	select {
	case <-wake:
	case <-due:
		s.due = closedTime
	case a := <-s.oldest():
		s.land(ctx, s.takeOff(), a)
	case <-ctx.Done():
	}
}

// closedTime is a due time that has come.
var closedTime = func() <-chan time.Time { c := make(chan time.Time); close(c); return c }()

func (s *shipper) full() bool { return len(s.batch.Lines) >= maxLines || s.bytes >= maxBytes }

func (s *shipper) ready() bool { return s.full() || s.due == closedTime && len(s.batch.Lines) > 0 }

func (s *shipper) oldest() <-chan answer {
	if len(s.flights) == 0 {
		return nil
	}
	return s.flights[0].answer
}

// takeOff takes the oldest flight from the list.
func (s *shipper) takeOff() *flight {
	f := s.flights[0]
	s.flights = s.flights[1:]
	return f
}

// launch puts the batch on its way and begins a new one.
func (s *shipper) launch(ctx context.Context) {
	f := &flight{batch: s.number(s.batch.Lines), answer: make(chan answer, 1)}
	s.drop()
	follows := len(s.flights) > 0
	s.flights = append(s.flights, f)
	ctx, cancel := context.WithTimeout(ctx, sendTimeout)
	wait := func() (Ack, error) { return s.sink.Send(ctx, f.batch) }
	if p, ok := s.sink.(Pipeline); ok {
		wait = p.Start(ctx, f.batch, follows)
	}
	go func() {
		defer cancel()
		ack, err := wait()
		f.answer <- answer{ack, err}
	}()
}

func (s *shipper) number(lines []Line) Batch {
	s.id++
	return Batch{ID: s.id, Lines: lines}
}

// drop begins a new batch, with room for as many lines as the one before.
func (s *shipper) drop() {
	s.batch, s.bytes, s.due = Batch{Lines: make([]Line, 0, len(s.batch.Lines))}, 0, nil
}

// land takes in the answer to the oldest batch under way. If it was not taken whole, those behind it are waited for,
// and everything that nobody has is read again; what was refused altogether comes first.
func (s *shipper) land(ctx context.Context, f *flight, a answer) {
	taken := s.taken(f.batch, a)
	if taken == len(f.batch.Lines) {
		if _, ok := s.sink.(Pipeline); ok {
			s.window = min(s.window+1, maxFlights)
		}
		return
	}
	for len(s.flights) > 0 {
		behind := s.takeOff()
		s.taken(behind.batch, <-behind.answer)
	}
	s.window = 1
	if taken == 0 {
		s.insist(ctx, f.batch, a)
	}
	s.rewind()
}

// taken settles an answer and gives the number of lines that it says are delivered.
func (s *shipper) taken(b Batch, a answer) int {
	if a.err != nil {
		s.stats.errors.Add(1)
		return 0
	}
	return s.settle(b, a.ack)
}

// rewind forgets what is read but not delivered: it will be read again.
func (s *shipper) rewind() {
	s.drop()
	s.mu.Lock()
	defer s.mu.Unlock()
	for st, src := range s.sources {
		src.close()
		if !st.dyno.removed {
			s.enqueue(st)
		}
	}
	clear(s.sources)
}

// settle takes in an ack and gives the number of lines that are delivered. Of each stream these are the first ones.
func (s *shipper) settle(b Batch, ack Ack) int {
	reached, t := progress(b.Lines, ack)
	if t.lines > 0 {
		s.stats.delivered(t)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for k, r := range reached {
		if d := s.dynos[k.Dyno]; d != nil && r.to > 0 {
			s.acknowledge(d.stream(k.Stream), r.to)
		}
	}
	return t.lines
}

// reach is how far a stream is delivered.
type reach struct {
	acked   int64 // says the ack
	to      int64 // end of the last line below it; 0: none is
	missing bool  // a line is not: nor are those behind it
}

// progress holds lines against an ack. It looks streams up only where another one begins: it is called for every line.
func progress(lines []Line, ack Ack) (map[Key]*reach, tally) {
	reached, t := map[Key]*reach{}, tally{}
	var k Key
	var r *reach
	for i := range lines {
		line := &lines[i]
		if r == nil || k.Stream != line.Stream || k.Dyno != line.Dyno {
			k = Key{line.Dyno, line.Stream}
			if r = reached[k]; r == nil {
				r = &reach{acked: ack.Offsets[k]}
				reached[k] = r
			}
		}
		if r.missing = r.missing || line.End() > r.acked; !r.missing {
			r.to = line.End()
			t.add(line)
		}
	}
	return reached, t
}

// acknowledge moves a stream's cursor. The caller holds mu.
func (s *shipper) acknowledge(st *stream, offset int64) {
	if s.sources[st] == nil {
		return // removed meanwhile, and known again since
	}
	st.acked = max(st.acked, offset)
	if st.acked-st.dyno.saved[st.Stream] >= s.saveAfter() {
		poke(s.kick)
	}
	st.dyno.tell()
}
