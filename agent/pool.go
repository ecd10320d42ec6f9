package agent

import (
	"context"
	"time"

	"github.com/containerd/errdefs"
)

const (
	// poolGrowth bounds the networks made ahead, as a multiple of Config.Pool.
	poolGrowth = 8
	// retryPrepare is how long to wait before a network that could not be made ahead is tried again.
	retryPrepare = time.Second
	// prepareLimit is for one network.
	prepareLimit = 10 * time.Second
)

// fill has a network made ahead for each slot that the ledger hands out next, until ctx ends.
func (a *Agent) fill(ctx context.Context) {
	for ctx.Err() == nil {
		slots, more := a.ledger.next(a.cfg.Pool, a.cfg.Pool*poolGrowth)
		if !a.prepareNetworks(ctx, slots) {
			more = time.Now().Add(retryPrepare)
		}
		var again <-chan time.Time
		if !more.IsZero() {
			again = time.After(time.Until(more))
		}
		select {
		case <-a.ledger.changed:
		case <-again:
		case <-ctx.Done():
		}
	}
}

// prepareNetworks gives up at the first that fails: the host has a trouble then that concerns all.
func (a *Agent) prepareNetworks(ctx context.Context, slots []int) bool {
	for _, slot := range slots {
		err := a.prepareNetwork(ctx, slot)
		if err != nil && !errdefs.IsAlreadyExists(err) { // a dyno has the slot meanwhile
			if ctx.Err() == nil {
				a.Log.Warn("cannot make a network ahead", "slot", slot, "err", err)
			}
			return false
		}
	}
	return true
}

func (a *Agent) prepareNetwork(ctx context.Context, slot int) error {
	ctx, cancel := context.WithTimeout(ctx, prepareLimit)
	defer cancel()
	return a.Network.Prepare(ctx, slot)
}
