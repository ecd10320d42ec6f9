package logs_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/containerd/errdefs"

	"github.com/dynod/dynod/logs"
)

// TestPoison has lines that the upstream will never take, said in two ways: they alone are left out, and told.
func TestPoison(t *testing.T) {
	for name, silent := range map[string]bool{"refused": false, "never acknowledged": true} {
		t.Run(name, func(t *testing.T) {
			r := newReceiver(t)
			h := newHost(t, &picky{receiver: r, word: "poison", silent: silent}, nil)
			id, other := newID(), newID()
			p, q := h.open(id), h.open(other)
			for i := range 300 {
				write(t, p.Stdout, fmt.Sprintf("line %d\n", i))
				write(t, q.Stdout, fmt.Sprintf("line %d\n", i))
				if i == 100 || i == 200 {
					write(t, p.Stdout, "poison\n")
				}
			}
			write(t, p.Stdout, "poison\n")
			h.over(id, p)
			h.over(other, q)
			got := r.of(id, logs.Stdout)
			var lost int64
			for _, l := range got.lines {
				lost += l.LostLines
			}
			if len(withoutNotices(got.lines)) != 300 || got.lost != 3*7 || lost != 3 {
				t.Errorf("%d lines, lost %d in %d bytes", len(got.lines), lost, got.lost)
			}
			if got := r.of(other, logs.Stdout); len(got.lines) != 300 || got.lost != 0 {
				t.Errorf("another dyno: %d lines, lost %d", len(got.lines), got.lost)
			}
			if up := h.Account().Sinks[logs.Upstream]; up.Lost != 3 || up.Dropped != 0 || up.Errors == 0 != silent {
				t.Errorf("stats: %+v", up)
			}
		})
	}
}

func withoutNotices(lines []logs.Line) []logs.Line {
	return slices.DeleteFunc(slices.Clone(lines), func(l logs.Line) bool { return l.Size == 0 })
}

// picky is a receiver that never takes a batch in which a word stands.
type picky struct {
	*receiver
	word   string
	silent bool
}

func (s *picky) Send(ctx context.Context, b logs.Batch) (logs.Ack, error) {
	for _, run := range b.Runs {
		if bytes.Contains(run.Text, []byte(s.word)) {
			if s.silent {
				return logs.Ack{}, nil
			}
			return logs.Ack{}, fmt.Errorf("no: %w", errdefs.ErrInvalidArgument)
		}
	}
	return s.receiver.Send(ctx, b)
}

// TestUnwantedDyno has an upstream that takes nothing of one dyno, not even a notice of loss: the others go on, and
// nothing of that one is given up.
func TestUnwantedDyno(t *testing.T) {
	r := newReceiver(t)
	unwanted, other := newID(), newID()
	r.before = func(b logs.Batch) error {
		if slices.ContainsFunc(b.Runs, func(r logs.Run) bool { return r.Dyno == unwanted }) {
			return fmt.Errorf("no: %w", errdefs.ErrInvalidArgument)
		}
		return nil
	}
	h := newHost(t, r, nil)
	p, q := h.open(unwanted), h.open(other)
	for i := range 100 {
		write(t, p.Stdout, fmt.Sprintf("line %d\n", i))
		write(t, q.Stdout, fmt.Sprintf("line %d\n", i))
	}
	h.over(other, q)
	if got := r.of(other, logs.Stdout); len(got.lines) != 100 {
		t.Errorf("%d lines", len(got.lines))
	}
	if up := h.Account().Sinks[logs.Upstream]; up.Lost != 0 || h.Backlog().Bytes == 0 {
		t.Errorf("given up: %+v, backlog %+v", up, h.Backlog())
	}
	p.Close()
}

// TestUnwantedDynoThatGoesOn has more to say all the while: once it has to wait, nothing of it is offered.
func TestUnwantedDynoThatGoesOn(t *testing.T) {
	r := newReceiver(t)
	unwanted, other := newID(), newID()
	waits := make(chan struct{})
	var offers atomic.Int64 // while it has to wait
	r.before = func(b logs.Batch) error {
		i := slices.IndexFunc(b.Runs, func(r logs.Run) bool { return r.Dyno == unwanted })
		switch {
		case i < 0:
			return nil
		case isClosed(waits):
			offers.Add(1)
		case len(b.Runs[i].Text) == 0: // the notice in place of its first line: the last try
			close(waits)
		}
		return fmt.Errorf("no: %w", errdefs.ErrInvalidArgument)
	}
	h := newHost(t, r, nil)
	p, q := h.open(unwanted), h.open(other)
	done := make(chan struct{})
	var talk sync.WaitGroup
	talk.Go(func() {
		pace := time.NewTicker(time.Millisecond)
		defer pace.Stop()
		for !isClosed(done) {
			<-pace.C
			write(t, p.Stdout, "more\n")
		}
	})
	<-waits
	for i := range 3 {
		write(t, q.Stdout, "line\n")
		if err := r.reach(h.ctx(), int64(i+1)*5); err != nil {
			t.Error(err)
		}
	}
	close(done)
	talk.Wait()
	if n := offers.Load(); n > 0 {
		t.Errorf("offered %d times", n)
	}
}

// line of batches: a Pipeline whose answers take a while, come in order, and now and then break all that is under way.
type pipe struct {
	*receiver
	delay  time.Duration
	breaks int // every so many batches; 0: never

	takes func([]logs.Run) []logs.Run // what of a batch is taken; nil: all

	mu      sync.Mutex
	rng     *rand.Rand
	flying  int
	most    int
	started int
	last    chan struct{} // closed when the batch started last has its answer
	broken  chan struct{} // closed when the present line breaks
}

func (p *pipe) Start(ctx context.Context, b logs.Batch, follows bool) func() (logs.Ack, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if follows && isClosed(p.broken) {
		return func() (logs.Ack, error) { return logs.Ack{}, errors.New("the line is broken") }
	}
	if p.broken == nil || isClosed(p.broken) {
		p.broken, p.last = make(chan struct{}), closed()
	}
	p.started++
	breaking := p.breaks > 0 && p.rng.IntN(p.breaks) == 0
	before, broken, done := p.last, p.broken, make(chan struct{})
	p.last = done
	p.flying++
	p.most = max(p.most, p.flying)
	return func() (logs.Ack, error) {
		defer func() { p.mu.Lock(); p.flying--; p.mu.Unlock(); close(done) }()
		<-before
		select {
		case <-time.After(p.delay):
		case <-ctx.Done():
		}
		p.mu.Lock()
		if breaking && !isClosed(broken) {
			close(broken)
		}
		gone := isClosed(broken)
		p.mu.Unlock()
		if gone || ctx.Err() != nil {
			return logs.Ack{}, errors.New("the line broke")
		}
		if p.takes != nil {
			b.Runs = p.takes(b.Runs)
		}
		if len(b.Runs) == 0 {
			return logs.Ack{}, nil
		}
		return p.receiver.Send(ctx, b)
	}
}

// TestHalvesUnderWay has an upstream that now and then takes half a batch while others are under way, and then, as it
// must, nothing that does not follow: all of it comes again.
func TestHalvesUnderWay(t *testing.T) {
	sink := &pipe{receiver: newReceiver(t), delay: time.Millisecond}
	id, n := newID(), 0
	sink.takes = func(runs []logs.Run) []logs.Run {
		if n++; n%7 == 0 {
			runs = eachLine(runs)
			runs = runs[:len(runs)/2]
		}
		if runs[0].Offset > sink.of(id, logs.Stdout).next {
			return nil
		}
		return runs
	}
	h := newHost(t, sink, nil)
	p := h.open(id)
	var want strings.Builder
	for i := range 200_000 {
		fmt.Fprintf(&want, "line %d\n", i)
	}
	write(t, p.Stdout, want.String())
	h.over(id, p)
	if got := sink.of(id, logs.Stdout); string(got.bytes) != want.String() || got.lost != 0 {
		t.Errorf("received %d bytes of %d", len(got.bytes), want.Len())
	}
	if up := h.Account().Sinks[logs.Upstream]; up.Lost != 0 || sink.most < 2 {
		t.Errorf("stats: %+v, %d flew together", up, sink.most)
	}
}

func closed() chan struct{} { c := make(chan struct{}); close(c); return c }

func isClosed(c chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

func (p *pipe) Send(ctx context.Context, b logs.Batch) (logs.Ack, error) {
	return p.Start(ctx, b, false)()
}

// TestBatchesUnderWay has a line with a long answer time that breaks often: several batches fly together, and every
// byte arrives, in order.
func TestBatchesUnderWay(t *testing.T) {
	sink := &pipe{receiver: newReceiver(t), delay: 5 * time.Millisecond, breaks: 20, rng: rand.New(rand.NewPCG(1, 1))}
	h := newHost(t, sink, nil)
	id := newID()
	p := h.open(id)
	var want strings.Builder
	for i := range 300 {
		for j := range 1000 {
			fmt.Fprintf(&want, "line %d of %d\n", j, i)
		}
	}
	write(t, p.Stdout, want.String())
	h.over(id, p)
	if got := sink.of(id, logs.Stdout); string(got.bytes) != want.String() || got.lost != 0 {
		t.Errorf("received %d bytes of %d", len(got.bytes), want.Len())
	}
	if sink.most < 3 || sink.most > 4 {
		t.Errorf("%d batches flew together", sink.most)
	}
}

// TestLaterAnswerCoversEarlierBatch has answers that say nothing while the one to the batch behind says all: nothing is
// sent twice.
func TestLaterAnswerCoversEarlierBatch(t *testing.T) {
	sink := &pipe{receiver: newReceiver(t), delay: 5 * time.Millisecond}
	silent := 0
	sink.ack = func(_ logs.Batch, a logs.Ack) logs.Ack {
		sink.mu.Lock()
		defer sink.mu.Unlock()
		if sink.flying > 1 && silent < 3 { // the others were started, and are answered later
			silent++
			return logs.Ack{}
		}
		return a
	}
	h := newHost(t, sink, nil)
	id := newID()
	p := h.open(id)
	text := strings.Repeat("a line of which there are many\n", 100_000)
	write(t, p.Stdout, text)
	h.over(id, p)
	if sent := sink.sum(); sent != int64(len(text)) || silent < 3 {
		t.Errorf("%d bytes sent of %d, %d answers were silent", sent, len(text), silent)
	}
	// Lines are counted a moment after their delivery is told.
	until(t, "100,000 lines to be counted", func() bool { return h.Account().Sinks[logs.Upstream].Lines == 100_000 })
}

// TestFloodCostsNobodyTime has a quiet dyno beside two hundred that say as much as the line takes: what is delivered of
// them before its lines are is what was under way. The times are for the reader: they depend on the machine.
func TestFloodCostsNobodyTime(t *testing.T) {
	sink := &pipe{receiver: newReceiver(t), delay: 25 * time.Millisecond}
	h := newHost(t, sink, nil)
	quiet := newID()
	p := h.open(quiet)
	var said int64
	say := func() (worst time.Duration, before int64) {
		for range 10 {
			begun, others := time.Now(), sink.sum()
			said += int64(len("a quiet word\n"))
			write(t, p.Stdout, "a quiet word\n")
			for sink.of(quiet, logs.Stdout).next < said {
				if err := sink.reach(h.ctx(), sink.sum()+1); err != nil {
					t.Fatal(err)
				}
			}
			worst, before = max(worst, time.Since(begun)), max(before, sink.sum()-others)
		}
		return worst, before
	}
	alone, _ := say()
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	floods, pipes := []*flood{}, []logs.Pipes{}
	for range 200 {
		id := newID()
		pipes = append(pipes, h.open(id))
		f := &flood{id: id, stream: logs.Stdout, file: pipes[len(pipes)-1].Stdout, window: 32 << 10}
		floods = append(floods, f)
		wg.Go(func() { _ = f.run(ctx, sink.receiver) })
	}
	if err := sink.reach(h.ctx(), 1<<20); err != nil {
		t.Error(err)
	}
	first, begun := sink.sum(), time.Now()
	beside, before := say()
	rate := float64(sink.sum()-first) / time.Since(begun).Seconds()
	cancel()
	wg.Wait()
	t.Logf("alone a line takes %s, beside a flood of %.1f MB/s %s and %d bytes of it", alone, rate/1e6, beside, before)
	if before > 2<<20 { // without turns it is all that the others have to say: three times as much
		t.Errorf("a quiet dyno's line came after %d bytes of others", before)
	}
	for i, f := range floods {
		h.over(f.id, pipes[i])
		if got := sink.of(f.id, logs.Stdout); got.next != f.written || got.lost != 0 {
			t.Errorf("a flooding dyno: %d bytes of %d, lost %d", got.next, f.written, got.lost)
		}
	}
}
