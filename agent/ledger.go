package agent

import (
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/containerd/errdefs"
)

// slotRest is how long a slot stays unused after a dyno: nobody who still knows its address or host port, or has a
// packet on the way, meets the next dyno there.
const slotRest = 30 * time.Second

// The times whose orders say for how many slots something is to be there soon: a network is cheap to have, and is not made in
// between when the next burst comes.
const (
	networksOver  = 5 * time.Minute
	sandboxesOver = 10 * time.Second
)

// ledger is the host's capacity and who holds what of it. A dyno holds its share from the order until everything of
// it is gone.
type ledger struct {
	places int // dynos at most
	slots  int // those with a higher number are held by dynos of an earlier configuration, and not handed out again
	memory int64

	changed chan struct{} // holds a token after a slot was handed out or freed, or got a sandbox
	cooled  chan struct{} // likewise, for who makes sandboxes

	mu     sync.Mutex
	shares map[string]share // by dyno id
	queue  []freeSlot       // the one that is handed out next comes first
	orders []demand         // during networksOver
	warm   warmth
}

type share struct {
	slot     int
	memory   int64
	starting bool // its command has not been started yet
}

// demand is a slot that was handed out.
type demand struct {
	at   time.Time
	cold bool // no sandbox was in it
}

// freeSlot is a slot that nobody holds.
type freeSlot struct {
	slot  int
	ready time.Time // when its rest is over
}

// newLedger has slots beyond the places, so that some can rest.
func newLedger(places, slots int, memory int64) *ledger {
	l := &ledger{places: places, slots: slots, memory: memory, shares: map[string]share{}, changed: make(chan struct{}, 1), cooled: make(chan struct{}, 1), warm: newWarmth()}
	for slot := range slots {
		l.queue = append(l.queue, freeSlot{slot: slot})
	}
	return l
}

// reserve takes a slot and the memory, or says ErrResourceExhausted. ErrUnavailable if the dyno has a share already. The slot
// is the one that has been free the longest, before those with a sandbox that the dyno cannot use; one with a sandbox for
// its stack, empty if it can use none, comes first.
func (l *ledger) reserve(id string, memory int64, stack string) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, held := l.shares[id]; held {
		return 0, fmt.Errorf("an earlier dyno %s is still being removed: %w", id, errdefs.ErrUnavailable)
	}
	if free := l.freeMemory(); memory > free {
		return 0, fmt.Errorf("memory: %d bytes asked for, %d free: %w", memory, max(0, free), errdefs.ErrResourceExhausted)
	}
	now := time.Now()
	if len(l.shares) >= l.places {
		return 0, fmt.Errorf("all %d places for dynos are taken: %w", l.places, errdefs.ErrResourceExhausted)
	}
	rested := l.queue[:l.rested(now)]
	if len(rested) == 0 {
		return 0, fmt.Errorf("all free slots rest for up to %s: %w", slotRest, errdefs.ErrResourceExhausted)
	}
	slot := l.warm.pick(rested, stack)
	l.unqueue(slot)
	l.orders = append(l.recent(now), demand{now, !l.warm.has(slot)})
	l.warm.taken(slot, stack, now)
	l.shares[id] = share{slot, memory, true}
	l.tell()
	return slot, nil
}

// begun says that a dyno's command has been started, or will not be soon.
func (l *ledger) begun(id string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if s, held := l.shares[id]; held {
		s.starting = false
		l.shares[id] = s
	}
}

// busy says whether dynos are being started, or the last order was a moment ago.
func (l *ledger) busy() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if n := len(l.orders); n > 0 && time.Since(l.orders[n-1].at) < quiet {
		return true
	}
	for _, s := range l.shares {
		if s.starting {
			return true
		}
	}
	return false
}

// rested is how many slots at the head of the queue can be handed out.
func (l *ledger) rested(now time.Time) int {
	n := slices.IndexFunc(l.queue, func(f freeSlot) bool { return f.ready.After(now) })
	if n < 0 {
		return len(l.queue)
	}
	return n
}

func (l *ledger) freeMemory() int64 {
	free := l.memory - l.warm.memory()
	for _, s := range l.shares {
		free -= s.memory
	}
	return free
}

// hold writes down what a dyno found at start has, whatever the limits say.
func (l *ledger) hold(id string, slot int, memory int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.shares[id] = share{slot, memory, false}
	l.unqueue(slot)
}

func (l *ledger) unqueue(slot int) (was bool) {
	n := len(l.queue)
	l.queue = slices.DeleteFunc(l.queue, func(f freeSlot) bool { return f.slot == slot })
	return len(l.queue) < n
}

func (l *ledger) free(id string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s, held := l.shares[id]
	delete(l.shares, id)
	if held && s.slot >= 0 && s.slot < l.slots && !l.holds(s.slot) {
		l.enqueue(s.slot)
	}
}

// holds says whether any dyno has the slot. What an earlier agent left may be of two.
func (l *ledger) holds(slot int) bool {
	for _, s := range l.shares {
		if s.slot == slot {
			return true
		}
	}
	return false
}

// rest lets a free slot rest of which an earlier agent left traces.
func (l *ledger) rest(slot int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.unqueue(slot) {
		l.enqueue(slot)
	}
}

func (l *ledger) enqueue(slot int) {
	l.unqueue(slot)
	l.queue = append(l.queue, freeSlot{slot, time.Now().Add(slotRest)})
	l.tell()
}

func (l *ledger) tell() {
	wake(l.changed)
	wake(l.cooled)
}

func wake(reader chan struct{}) {
	select {
	case reader <- struct{}{}:
	default: // the last token was not yet taken
	}
}

// next is the slots that want a network next: those that are handed out first, but for those with a sandbox, which has one. There
// are as many as were wanted over networksOver, but at least least and at most most. more is when to ask again for those that rest;
// zero when none is missing.
func (l *ledger) next(least, most int) (slots []int, more time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	bare := slices.DeleteFunc(slices.Clone(l.queue), func(f freeSlot) bool { return l.warm.has(f.slot) })
	lately := l.lately(now, func(d demand) bool { return d.cold })
	return first(bare, min(max(least, lately), most), now)
}

// lately counts orders.
func (l *ledger) lately(now time.Time, of func(demand) bool) (n int) {
	for _, d := range l.recent(now) {
		if of(d) {
			n++
		}
	}
	return n
}

// recent drops the orders that no longer tell any demand.
func (l *ledger) recent(now time.Time) []demand {
	l.orders = slices.DeleteFunc(l.orders, func(d demand) bool { return now.Sub(d.at) > networksOver })
	return l.orders
}

// first is the first free slots that have rested; more is when the next of those that are wanted has.
func first(free []freeSlot, want int, now time.Time) (slots []int, more time.Time) {
	for _, f := range free[:min(want, len(free))] {
		if f.ready.After(now) {
			return slots, f.ready
		}
		slots = append(slots, f.slot)
	}
	return slots, more
}

// left is what nobody holds; the resting slots are not among the places.
func (l *ledger) left() (places, resting int, memory int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	rested := l.rested(time.Now())
	return max(0, min(l.places-len(l.shares), rested)), len(l.queue) - rested, max(0, l.freeMemory())
}
