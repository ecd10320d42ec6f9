package agent

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/containerd/errdefs"

	"github.com/dynod/dynod/agent/dyno"
	"github.com/dynod/dynod/agent/meter"
)

// claim finds the runner of a dyno, or registers a new one, which the caller must then let run or drop.
func (a *Agent) claim(id string) (r *runner, mine bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if r := a.runners[id]; r != nil {
		return r, false
	}
	r = a.newRunner(id)
	a.runners[id] = r
	return r, true
}

// newRunner copies the settings in force: a.mu is held.
func (a *Agent) newRunner(id string) *runner {
	return &runner{
		Parts: a.Parts, cfg: a.cfg, ledger: a.ledger, queue: a.queue, board: a.board, log: a.Log.With("dyno", id),
		orders: make(chan order), received: make(chan struct{}), done: make(chan struct{}), quit: func() {}, held: &holding{},
	}
}

func (a *Agent) find(id string) *runner {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.runners[id]
}

// let gives a runner its goroutine. When it has returned by itself, the dyno is forgotten.
func (a *Agent) let(r *runner, lead func(context.Context)) {
	a.mu.Lock()
	defer a.mu.Unlock()
	ctx, quit := context.WithCancel(a.life)
	r.quit = quit
	if ctx.Err() != nil { // the next agent goes on with it
		close(r.done)
		return
	}
	r.held = r.newHolding()
	r.show()
	if url := r.rec.Spec.Secret.RendezvousURL; url != "" && !r.rec.Ended() {
		life, id := a.life, r.rec.ID
		a.group.Go(func() { a.meet(life, r, id, url) })
	}
	a.group.Go(func() {
		defer close(r.done)
		defer quit()
		lead(ctx)
		if ctx.Err() == nil {
			a.drop(r)
		}
	})
}

// drop takes a runner out of the registry.
func (a *Agent) drop(r *runner) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.runners[r.rec.ID] == r {
		delete(a.runners, r.rec.ID)
	}
}

// leaving says that the agent is going away.
func (a *Agent) leaving() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.life == nil || a.life.Err() != nil
}

// accept makes a new dyno's order durable and lets its runner go.
func (a *Agent) accept(ctx context.Context, r *runner, o StartOrder) (Status, error) {
	r.rec.ID = o.ID
	rec, err := a.record(ctx, r, o)
	if err != nil {
		a.drop(r)
		close(r.done)
		return Status{}, err
	}
	return a.begin(ctx, r, rec, o.Reason), nil
}

func (a *Agent) begin(call context.Context, r *runner, rec dyno.Record, reason string) Status {
	r.rec = rec
	a.Meter.Moved(dyno.Record{}, rec)
	traced := meter.TraceOf(call)
	a.let(r, func(ctx context.Context) {
		ctx = traced(ctx)
		if reason != "" {
			r.say(ctx, reason)
		}
		r.run(ctx, false)
	})
	return Status{Record: rec}
}

// record admits an order and writes it down.
func (a *Agent) record(ctx context.Context, r *runner, o StartOrder) (rec dyno.Record, err error) {
	defer a.Meter.Begin(ctx, meter.Order)(&err)
	if reason := a.cordon.Load(); reason != nil {
		return dyno.Record{}, fmt.Errorf("the host is cordoned (%s): %w", *reason, errdefs.ErrFailedPrecondition)
	}
	if slices.Contains(a.unreadable, o.ID) {
		return dyno.Record{}, fmt.Errorf("dyno %s has a record that cannot be read: %w", o.ID, errdefs.ErrFailedPrecondition)
	}
	if !a.reachable.Load() {
		return dyno.Record{}, fmt.Errorf("containerd does not answer: %w", errdefs.ErrUnavailable)
	}
	slot, err := a.ledger.reserve(o.ID, o.Spec.Limits.Memory, sandbox(o.Spec))
	if err != nil {
		return dyno.Record{}, err
	}
	rec = dyno.New(o.ID, o.Generation, slot, a.cfg.BootID, o.Spec, time.Now())
	if err := a.add(ctx, r, rec); err != nil {
		a.ledger.free(o.ID)
		return rec, err
	}
	return rec, nil
}

// sandbox is the stack for which a dyno can use a sandbox; empty if none: what is made ahead is in no private space.
func sandbox(s dyno.Spec) string {
	if s.Metadata.Space != "" {
		return ""
	}
	return s.Artifact.Stack
}

// errReplace says that an ended dyno makes room for its next generation.
var errReplace = errors.New("to be replaced")

// again answers a start order for a dyno that is known.
func (a *Agent) again(ctx context.Context, r *runner, o StartOrder) (Status, error) {
	err := r.ask(ctx, func(rec dyno.Record) (dyno.Record, error) { return repeated(rec, o) })
	if errors.Is(err, errReplace) {
		return a.replace(ctx, r, o)
	}
	if err != nil {
		return Status{}, err
	}
	status, known := a.board.get(o.ID)
	if !known {
		return status, errGone
	}
	return status, nil
}

// repeated is the rule for a start order that meets a known dyno.
func repeated(rec dyno.Record, o StartOrder) (dyno.Record, error) {
	switch {
	case o.Generation < rec.Generation:
		return rec, stale(o.Generation, rec.Generation)
	case o.Generation > rec.Generation && rec.Ended() && rec.Released && !rec.Spec.SameSinks(o.Spec):
		return rec, fmt.Errorf("dyno %s had other log sinks, which go with its id: %w", rec.ID, errdefs.ErrAlreadyExists)
	case o.Generation > rec.Generation && rec.Ended() && rec.Released:
		return rec, errReplace
	case o.Generation > rec.Generation && (rec.Stop != nil || rec.Ended()):
		return rec, fmt.Errorf("the earlier generation is still being ended: %w", errdefs.ErrUnavailable)
	case !rec.Spec.Same(o.Spec):
		return rec, fmt.Errorf("dyno %s exists with another spec: %w", rec.ID, errdefs.ErrAlreadyExists)
	case o.Generation == rec.Generation:
		return rec, errSame
	}
	rec.Generation = o.Generation
	return rec, nil
}

func stale(got, have int64) error {
	return fmt.Errorf("generation %d is lower than %d, which was obeyed: %w", got, have, errdefs.ErrFailedPrecondition)
}

// replace begins the next generation of an ended dyno. When that is refused, the old one stays as it was.
func (a *Agent) replace(ctx context.Context, old *runner, o StartOrder) (Status, error) {
	a.mu.Lock()
	if a.runners[o.ID] != old {
		a.mu.Unlock()
		return Status{}, errGone
	}
	next := a.newRunner(o.ID)
	a.runners[o.ID] = next
	old.quit()
	a.mu.Unlock()
	<-old.done
	rec, err := a.record(ctx, next, o)
	if err != nil {
		next.rec = old.rec
		a.let(next, next.rest)
		return Status{}, err
	}
	return a.begin(ctx, next, rec, o.Reason), nil
}
