package agent

import (
	"context"
	"time"

	"github.com/containerd/errdefs"

	"github.com/dynod/dynod/runtime"
)

const (
	// warmGrowth bounds the sandboxes made ahead, as a multiple of Config.WarmSlots.
	warmGrowth = 4
	// retryWarm is how long to wait after a sandbox could not be made.
	retryWarm = 5 * time.Second
	// warmLimit is for one sandbox.
	warmLimit = time.Minute
)

// heat has a sandbox made ahead for each slot that the ledger hands out next, one after the other, until ctx ends.
func (a *Agent) heat(ctx context.Context) {
	stacks := a.cfg.Defaults.Sources.Stacks
	if a.cfg.WarmSlots == 0 || len(stacks) == 0 {
		return
	}
	a.ledger.want(stacks[len(stacks)-1])
	failed := false // and it was said
	for ctx.Err() == nil {
		a.calm(ctx)
		slot, stack, more := a.ledger.coldest(a.cfg.WarmSlots, a.cfg.WarmSlots*warmGrowth)
		if slot >= 0 {
			err := a.warmSlot(ctx, slot, stack)
			switch {
			case err == nil:
				failed = false
				continue
			case errdefs.IsNotImplemented(err):
				a.Log.Warn("no sandboxes are made ahead", "err", err)
				return
			case !errdefs.IsNotFound(err) && !failed && ctx.Err() == nil:
				a.Log.Warn("cannot make a sandbox ahead", "slot", slot, "err", err)
				failed = true
			}
			more = time.Now().Add(retryWarm)
		}
		a.awaitCold(ctx, more)
	}
}

func (a *Agent) awaitCold(ctx context.Context, more time.Time) {
	var again <-chan time.Time
	if !more.IsZero() {
		again = time.After(time.Until(more))
	}
	select {
	case <-a.ledger.cooled:
	case <-again:
	case <-ctx.Done():
	}
}

// warmSlot makes the sandbox of a slot. A slot where something of somebody else is in the way stays marked, and is not tried
// again before it was handed out.
func (a *Agent) warmSlot(ctx context.Context, slot int, stack string) error {
	ctx, cancel := context.WithTimeout(ctx, warmLimit)
	defer cancel()
	net, err := a.prepareNetwork(ctx, slot)
	if errdefs.IsFailedPrecondition(err) { // which prepareNetworks tells
		return nil
	}
	if err == nil {
		err = a.Runtime.Warm(ctx, runtime.Spare{Slot: slot, Stack: stack, Namespace: net.Namespace, Sysfs: net.Sysfs})
	}
	if err == nil {
		a.ledger.warmed(slot, stack)
		return nil
	}
	if !a.ledger.unwarmed(slot) || errdefs.IsAlreadyExists(err) { // a dyno has the slot meanwhile
		return nil
	}
	return err
}
