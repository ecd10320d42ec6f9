package logs

import (
	"context"
	"errors"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/containerd/errdefs"

	"github.com/dynod/dynod/logs/logplex"
	"github.com/dynod/dynod/logs/spool"
)

const (
	// maxLines are in a receiver's batch at most.
	maxLines = 500
	// maxRetryAfter bounds what a receiver may ask for.
	maxRetryAfter = 5 * time.Minute
	// farewell is how long an attempt may go on when the agent leaves.
	farewell = time.Second
	// maxNotices is how many losses a batch may have to tell of, beside its lines.
	maxNotices = 2
)

// trouble says whether something failed when it was last tried: what is tried over and over complains once.
type trouble bool

// begins takes in an outcome and tells whether trouble is new.
func (t *trouble) begins(err error) bool {
	before := *t
	*t = err != nil
	return err != nil && !bool(before)
}

// bundle is what was read and is not under way yet.
type bundle struct {
	lines []Line
	bytes int // of their texts
	after spool.Cursor
}

func (b *bundle) add(line Line) {
	b.lines = append(b.lines, line)
	b.bytes += len(line.Text)
	b.after[line.Stream] = line.End()
}

func (b *bundle) full() bool { return len(b.lines) >= maxLines-maxNotices || b.bytes >= maxBytes }

// gap is what is missing before its first line; before no other anything is.
func (b *bundle) gap() spool.Loss {
	if len(b.lines) == 0 {
		return spool.Loss{}
	}
	return missing(b.lines[0])
}

// drive reads and sends until ctx ends.
func (dr *drain) drive(ctx context.Context) {
	defer dr.out.close()
	m := &merger{}
	defer func() { m.close() }()
	for ctx.Err() == nil {
		if m.heads == nil {
			dr.open(m)
		}
		b, ok := dr.gather(ctx, m)
		if !ok {
			return
		}
		if ld, ok := dr.depart(b); ok {
			dr.deliver(ctx, ld)
		} else {
			m.close()
		}
	}
}

// open begins to read where the drain stands.
func (dr *drain) open(m *merger) {
	dr.mu.Lock()
	defer dr.mu.Unlock()
	dr.moved = false
	for _, s := range spool.Streams {
		m.add(newSource(dr.l.dir(dr.d.id), Key{dr.d.id, s}, dr.next[s]))
	}
}

// gather waits for lines and gives them when they are enough or the first one old enough; false when ctx ends.
func (dr *drain) gather(ctx context.Context, m *merger) (bundle, bool) {
	var b bundle
	dr.mu.Lock()
	b.after = dr.next
	dr.mu.Unlock()
	var due <-chan time.Time
	for {
		over := dr.over() // asked before reading: what is read then is all there will be
		if dr.read(m, &b) || len(b.lines) == 0 && over && dr.owes() {
			return b, true
		}
		if due == nil && len(b.lines) > 0 {
			due = time.After(linger)
		}
		select {
		case <-dr.wake:
		case <-due:
			return b, true
		case <-ctx.Done():
			return b, false
		}
	}
}

// read takes the lines that are there. True: the bundle is complete, as it is when something is missing before the
// next line: that is told at the beginning of a batch.
func (dr *drain) read(m *merger, b *bundle) bool {
	for !b.full() {
		h, err := m.peek()
		if dr.unread.begins(err) {
			dr.l.log.Warn("part of a spool is unreadable", "dyno", dr.d.id, "receiver", dr.n, "error", err)
		}
		switch {
		case err != nil:
			time.AfterFunc(readAgain, func() { poke(dr.wake) })
			return false
		case h == nil:
			return false
		case h.line.Lost > 0 && len(b.lines) > 0:
			return true
		}
		line := h.pop()
		if line.Size == 0 { // tells only what is missing: so does the next batch
			dr.miss(line)
			b.after[line.Stream] = line.End()
			continue
		}
		b.add(line)
	}
	return true
}

// over tells that no more bytes will come.
func (dr *drain) over() bool {
	dr.l.mu.Lock()
	defer dr.l.mu.Unlock()
	return dr.d.finished && !dr.d.held() && dr.l.client != nil
}

// owes tells that there are losses of which the receiver was not told.
func (dr *drain) owes() bool {
	dr.mu.Lock()
	defer dr.mu.Unlock()
	return dr.done.Dropped.Lines+dr.done.Lost.Lines > 0
}

// deliver sends until the receiver has it, refuses it for good, or ctx ends.
func (dr *drain) deliver(ctx context.Context, ld *load) {
	pause := backoff.NewExponentialBackOff()
	pause.InitialInterval, pause.MaxInterval = 250*time.Millisecond, time.Minute
	for {
		err := dr.attempt(ctx, ld)
		if err == nil {
			dr.arrive(ld, false)
			return
		}
		if ctx.Err() != nil {
			return
		}
		dr.stats.errors.Add(1)
		dr.l.log.Warn("log receiver takes no lines", "dyno", dr.d.id, "receiver", dr.n, "lines", ld.lines, "error", err)
		if errdefs.IsInvalidArgument(err) {
			dr.arrive(ld, true)
			return
		}
		sleep(ctx, max(pause.NextBackOff(), asked(err)))
	}
}

// attempt sends once. When ctx ends it may go on for a moment: an answer that nobody hears means sending again.
func (dr *drain) attempt(ctx context.Context, ld *load) error {
	leaving := ctx
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), sendTimeout)
	defer cancel()
	defer context.AfterFunc(leaving, func() { time.AfterFunc(farewell, cancel) })()
	return dr.out.send(ctx, ld.Batch)
}

// asked is how long the receiver wants to be left alone.
func asked(err error) time.Duration {
	if refusal, ok := errors.AsType[*logplex.Refusal](err); ok {
		return min(refusal.RetryAfter, maxRetryAfter)
	}
	return 0
}
