package agent

import (
	"context"
	"time"
)

const (
	// regaining is how many dynos of an earlier agent are looked at again at once: with all of them at once the host had
	// no CPU left for orders.
	regaining = 4
	// queueLimit is the longest that a dyno waits for that: one that hangs does not hold up the others.
	queueLimit = 2 * time.Second
)

// queue has dynos of an earlier agent wait until this one serves, and then for one another.
type queue struct {
	ready <-chan struct{}
	turns chan struct{}
}

func newQueue(ready <-chan struct{}) queue { return queue{ready, make(chan struct{}, regaining)} }

// take waits for a turn, which done ends.
func (q queue) take(ctx context.Context) (done func()) {
	select {
	case <-q.ready:
	case <-ctx.Done():
	}
	select {
	case q.turns <- struct{}{}:
		return func() { <-q.turns }
	case <-time.After(queueLimit):
	case <-ctx.Done():
	}
	return func() {}
}

// inTurn is a step of a dyno of an earlier agent. Orders for the dyno are taken meanwhile, and carried out after it.
func (r *runner) inTurn(step func(context.Context) error) func(context.Context) error {
	return func(ctx context.Context) error {
		defer r.queue.take(ctx)()
		return step(ctx)
	}
}
