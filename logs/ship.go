package logs

import (
	"context"
	"time"
)

const (
	rest        = 50 * time.Millisecond  // after all that is there was read, until there is another look
	linger      = 200 * time.Millisecond // from a batch's first line until it is sent
	sendTimeout = 30 * time.Second       // for one attempt
	maxFlights  = 4                      // batches under way at once, where the sink is a Pipeline
)

// shipper is the one goroutine that sends upstream. It owns the sources.
type shipper struct {
	*Logs
	sources map[*stream]*source
	id      uint64

	batch *cargo           // being filled
	due   <-chan time.Time // when it is old enough
	rest  <-chan time.Time // nil: it is over
	spare []*cargo         // empty

	flights []*flight // under way, oldest first
	window  int       // how many there may be: one after trouble, one more with every batch that is taken whole
}

// flight is a batch under way.
type flight struct {
	batch  Batch
	cargo  *cargo // in which it lies
	answer chan answer
}

type answer struct {
	ack Ack
	err error
}

// ship sends until ctx ends. What is read but not sent then is read again: every connection to capture queues all streams.
func (l *Logs) ship(ctx context.Context) {
	s := &shipper{Logs: l, sources: map[*stream]*source{}, batch: newCargo(), window: 1}
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
	if !s.batch.full() && s.rest == nil {
		wake = s.wake
	}
	due := s.due
	if due == closedTime {
		due = nil
	}
	select {
	case <-wake:
	case <-s.rest:
		s.rest = nil
	case <-due:
		s.due = closedTime
	case a := <-s.oldest():
		s.land(ctx, s.takeOff(), a)
	case <-ctx.Done():
	}
}

// closedTime is a due time that has come.
var closedTime = func() <-chan time.Time { c := make(chan time.Time); close(c); return c }()

func (s *shipper) ready() bool {
	return s.batch.full() || s.due == closedTime && len(s.batch.runs) > 0
}

func (s *shipper) oldest() <-chan answer {
	if len(s.flights) == 0 {
		return nil
	}
	return s.flights[0].answer
}

// mark tells how old the lines are that are under way.
func (s *shipper) mark() {
	var oldest *time.Time
	if len(s.flights) > 0 {
		oldest = s.flights[0].batch.oldest()
	}
	s.lag.Store(oldest)
}

// takeOff takes the oldest flight from the list.
func (s *shipper) takeOff() *flight {
	f := s.flights[0]
	s.flights = s.flights[1:]
	return f
}

// launch puts the batch on its way and begins a new one.
func (s *shipper) launch(ctx context.Context) {
	f := &flight{batch: s.number(s.batch.runs), cargo: s.batch, answer: make(chan answer, 1)}
	s.begin()
	follows := len(s.flights) > 0
	s.flights = append(s.flights, f)
	s.mark()
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

func (s *shipper) number(runs []Run) Batch {
	s.id++
	return Batch{ID: s.id, Runs: runs}
}

// begin begins a new batch.
func (s *shipper) begin() {
	s.due = nil
	if n := len(s.spare); n > 0 {
		s.batch, s.spare = s.spare[n-1], s.spare[:n-1]
		s.batch.clear()
	} else {
		s.batch = newCargo()
	}
}

// land takes in the answer to the oldest batch under way. If it was not taken whole, those behind it are waited for,
// and everything that nobody has is read again; what was refused altogether comes first.
func (s *shipper) land(ctx context.Context, f *flight, a answer) {
	defer s.mark()
	s.settle(f.batch, a)
	if got, whole := s.delivered(f.batch); whole {
		s.stats.delivered(got)
		s.spare = append(s.spare, f.cargo)
		if _, ok := s.sink.(Pipeline); ok {
			s.window = min(s.window+1, maxFlights)
		}
		return
	}
	s.window = 1
	behind := s.flights
	for _, b := range behind {
		s.settle(b.batch, <-b.answer)
	}
	s.flights = nil
	for _, b := range behind { // only now: an answer may cover lines of batches before
		s.count(b)
		s.spare = append(s.spare, b.cargo)
	}
	if !s.count(f) {
		s.insist(ctx, f.batch, a)
	}
	s.spare = append(s.spare, f.cargo)
	s.rewind()
}

// count takes what is delivered of a batch into the statistics, and tells whether anything is.
func (s *shipper) count(f *flight) bool {
	got, _ := s.delivered(f.batch)
	s.stats.delivered(got)
	return got.any
}

// rewind forgets what is read but not delivered: it will be read again.
func (s *shipper) rewind() {
	s.batch.clear()
	s.due = nil
	s.mu.Lock()
	defer s.mu.Unlock()
	for st, src := range s.sources {
		src.close()
		if !st.dyno.removed {
			st.dyno.anew()
			s.enqueue(st)
		}
	}
	clear(s.sources)
}
