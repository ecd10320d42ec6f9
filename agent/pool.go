package agent

import (
	"context"
	"time"

	"github.com/containerd/errdefs"

	"github.com/dynod/dynod/network"
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
	blocked := map[int]bool{}
	for ctx.Err() == nil {
		a.calm(ctx)
		slots, more := a.ledger.next(a.cfg.Pool, a.cfg.Pool*poolGrowth)
		if !a.prepareNetworks(ctx, slots, blocked) {
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

// prepareNetworks leaves a slot out that somebody else has put something in the way of, which it says once, and
// gives up at the first that fails otherwise: the host has a trouble then that concerns all.
func (a *Agent) prepareNetworks(ctx context.Context, slots []int, blocked map[int]bool) bool {
	for _, slot := range slots {
		a.calm(ctx) // the kernel makes and changes one network at a time
		_, err := a.prepareNetwork(ctx, slot)
		if err == nil {
			err = a.Runtime.Prime(slot)
		}
		known := blocked[slot]
		delete(blocked, slot)
		switch {
		case err == nil || errdefs.IsAlreadyExists(err): // a dyno has the slot meanwhile
			continue
		case ctx.Err() != nil:
			return false
		case !known:
			a.Log.Warn("cannot make a network ahead", "slot", slot, "err", err)
		}
		if !errdefs.IsFailedPrecondition(err) {
			return false
		}
		blocked[slot] = true
	}
	return true
}

func (a *Agent) prepareNetwork(ctx context.Context, slot int) (network.Attachment, error) {
	ctx, cancel := context.WithTimeout(ctx, prepareLimit)
	defer cancel()
	return a.Network.Prepare(ctx, slot)
}
