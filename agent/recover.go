package agent

import (
	"context"
	"errors"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/dynod/dynod/agent/dyno"
	"github.com/dynod/dynod/agent/state"
	"github.com/dynod/dynod/network"
	"github.com/dynod/dynod/runtime"
)

// retryRecovery is how long to wait when containerd or the network cannot be read at start.
const retryRecovery = time.Second

// The time between two tries to remove leftovers doubles from one to the other.
const (
	retryCollect    = time.Second
	maxRetryCollect = time.Minute
)

// inventory is all that an earlier agent left on this host, by dyno id.
type inventory map[string]*relic

type relic struct {
	dyno.Found
	slot  int // -1 when nobody knows
	pid   int // of dyno-init; 0 when none runs
	spool bool
}

// recover takes over what is there. It tries until it can see everything, or ctx ends.
func (a *Agent) recover(ctx context.Context) error {
	for {
		found, err := a.survey(ctx)
		if err == nil {
			a.reachable.Store(true)
			a.takeOver(ctx, found)
			return nil
		}
		a.Log.Error("cannot see this host's dynos yet", "err", err)
		if !a.idle(ctx, retryRecovery) {
			return nil
		}
	}
}

// survey looks everywhere at once.
func (a *Agent) survey(ctx context.Context) (inventory, error) {
	var (
		entries    []state.Entry
		containers []runtime.Found
		networks   []network.Found
		spools     []string
	)
	looks, ctx := errgroup.WithContext(ctx)
	looks.Go(func() (err error) {
		entries, err = a.Store.Load()
		return err
	})
	looks.Go(func() (err error) {
		containers, err = a.Runtime.List(ctx)
		return wrap("list containers", err)
	})
	looks.Go(func() (err error) {
		networks, err = a.Network.List(ctx)
		return wrap("list networks", err)
	})
	looks.Go(func() (err error) {
		spools, err = a.Logs.List(ctx)
		return wrap("list spools", err)
	})
	if err := looks.Wait(); err != nil {
		return nil, err
	}
	return a.takeStock(entries, containers, networks, spools), nil
}

func (a *Agent) takeStock(entries []state.Entry, containers []runtime.Found, networks []network.Found, spools []string) inventory {
	found := inventory{}
	for _, e := range entries {
		a.addRecord(found, e)
	}
	for _, c := range containers {
		r := found.relic(c.ID)
		r.Leftovers = true
		r.Container, r.pid = containerState(c), c.PID
		if r.slot < 0 {
			r.slot = c.Slot
		}
	}
	for _, n := range networks {
		r := found.relic(n.ID)
		r.Leftovers, r.slot = true, n.Slot
	}
	for _, id := range spools {
		found.relic(id).spool = true
	}
	return found
}

func (i inventory) relic(id string) *relic {
	if i[id] == nil {
		i[id] = &relic{slot: -1}
	}
	return i[id]
}

func (a *Agent) addRecord(found inventory, e state.Entry) {
	r := found.relic(e.ID)
	if e.Err != nil {
		r.Unreadable = true
		a.Log.Error("record cannot be read: its dyno is left alone", "dyno", e.ID, "err", e.Err)
		return
	}
	r.Record, r.Secret, r.slot = &e.Record, e.Secret, e.Record.Slot
	r.SameBoot = e.Record.BootID == a.cfg.BootID
}

func (a *Agent) takeOver(ctx context.Context, found inventory) {
	for id, r := range found {
		action := dyno.Decide(r.Found)
		say := a.Log.Info
		if action == dyno.Settle { // many, of which nothing is new
			say = a.Log.Debug
		}
		say("found", "dyno", id, "action", action.String())
		a.Meter.Recovered(action)
		switch action {
		case dyno.LeaveAlone:
			a.unreadable = append(a.unreadable, id)
			a.ledger.hold(id, r.slot, 0)
		case dyno.Collect:
			a.ledger.hold(id, r.slot, 0)
			a.group.Go(func() { a.collect(ctx, id) })
		default:
			a.resume(id, r, action)
		}
	}
}

func (a *Agent) resume(id string, found *relic, action dyno.Action) {
	rec := *found.Record
	if rec.Released {
		a.ledger.rest(rec.Slot)
	} else {
		a.ledger.hold(id, rec.Slot, rec.Spec.Limits.Memory)
	}
	if found.slot != rec.Slot { // of a generation that was never written down
		a.ledger.rest(found.slot)
	}
	run, _ := a.claim(id)
	run.rec, run.facts.pid = rec, found.pid
	a.let(run, func(ctx context.Context) {
		release := run.held.release
		if rec.Released && !found.Leftovers { // of a host's many finished dynos this is nearly all
			release = func(context.Context) error { return nil }
		}
		run.resume(ctx, action, release)
	})
}

// collect removes what nobody has a record of, as often as it takes. Until then its slot is nobody else's.
func (a *Agent) collect(ctx context.Context, id string) {
	for again := retryCollect; ; again = min(2*again, maxRetryCollect) {
		err := a.clear(ctx, id)
		if err == nil {
			a.ledger.free(id)
			return
		}
		a.Log.Error("remove leftovers", "dyno", id, "err", err)
		if !a.idle(ctx, again) {
			return
		}
	}
}

func (a *Agent) clear(ctx context.Context, id string) error {
	ctx, cancel := context.WithTimeout(ctx, releaseLimit)
	defer cancel()
	return errors.Join(a.Runtime.Delete(ctx, id), a.Network.Teardown(ctx, id), a.Logs.Remove(ctx, id))
}
