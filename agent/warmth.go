package agent

import (
	"maps"
	"slices"
	"time"
)

const (
	// spareMemory is what a sandbox that waits takes of the host, in bytes.
	spareMemory = 2 << 20
	// stackOver is the time after its last order when sandboxes for a stack make room for those of another.
	stackOver = time.Minute
)

// warmth is which free slots have a sandbox made ahead. It is part of the ledger, under its lock.
type warmth struct {
	stacks map[int]string       // of the sandboxes, by slot; empty while one is made or where it cannot be
	wanted string               // the stack of the newest order for one
	asked  map[string]time.Time // when each stack was last ordered
}

func newWarmth() warmth { return warmth{stacks: map[int]string{}, asked: map[string]time.Time{}} }

func (w *warmth) memory() int64 { return int64(len(w.stacks)) * spareMemory }

// pick chooses among free slots, of which there is at least one.
func (w *warmth) pick(free []freeSlot, stack string) int {
	plain := -1
	for _, f := range free {
		has, made := w.stacks[f.slot]
		switch {
		case made && has == stack && stack != "":
			return f.slot
		case !made && plain < 0:
			plain = f.slot
		}
	}
	if plain < 0 {
		return free[0].slot
	}
	return plain
}

// taken notes an order.
func (w *warmth) taken(slot int, stack string, now time.Time) {
	delete(w.stacks, slot)
	if stack != "" {
		w.wanted, w.asked[stack] = stack, now
	}
}

// cold says whether a slot wants a sandbox for the stack that is wanted now.
func (w *warmth) cold(slot int, now time.Time) bool {
	has, made := w.stacks[slot]
	return !made || has != "" && has != w.wanted && now.Sub(w.asked[has]) > stackOver
}

// has says whether a slot has a sandbox, or one is being made.
func (w *warmth) has(slot int) bool {
	_, made := w.stacks[slot]
	return made
}

// ready is how many sandboxes wait.
func (w *warmth) ready() int {
	stacks := slices.Collect(maps.Values(w.stacks))
	return len(slices.DeleteFunc(stacks, func(s string) bool { return s == "" }))
}

// coldest is the slot that a sandbox is to be made for next, and its stack: one of those that are handed out next, as many as were
// over sandboxesOver, but at least least and at most most. It is marked as being made, and warmed or unwarmed has to follow. If
// there is none, or the memory is short, the slot is -1, and more says when to ask again; zero when an order will tell.
func (l *ledger) coldest(least, most int) (slot int, stack string, more time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	lately := l.lately(now, func(d demand) bool { return now.Sub(d.at) <= sandboxesOver })
	slots, more := first(l.queue, min(max(least, lately), most), now)
	for _, slot := range slots {
		if l.warm.cold(slot, now) && l.freeMemory() >= spareMemory {
			l.warm.stacks[slot] = ""
			wake(l.changed)
			return slot, l.warm.wanted, more
		}
	}
	return -1, "", more
}

// warmed says that a slot's sandbox waits. Whoever has got the slot meanwhile has the sandbox too.
func (l *ledger) warmed(slot int, stack string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, free := l.warm.stacks[slot]; free {
		l.warm.stacks[slot] = stack
	}
}

// unwarmed says that a slot's sandbox could not be made, and is told whether the slot is free all the same.
func (l *ledger) unwarmed(slot int) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	_, free := l.warm.stacks[slot]
	delete(l.warm.stacks, slot)
	return free
}

// want is the stack to begin with.
func (l *ledger) want(stack string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.warm.wanted = stack
}

func (l *ledger) warmSlots() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.warm.ready()
}
