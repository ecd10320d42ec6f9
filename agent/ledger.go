package agent

import (
	"fmt"
	"sync"

	"github.com/containerd/errdefs"
)

// ledger is the host's capacity and who holds what of it. A dyno holds its share from the order until everything of
// it is gone.
type ledger struct {
	slots  int
	memory int64

	mu     sync.Mutex
	shares map[string]share // by dyno id
}

type share struct {
	slot   int
	memory int64
}

func newLedger(slots int, memory int64) *ledger {
	return &ledger{slots: slots, memory: memory, shares: map[string]share{}}
}

// reserve takes the lowest free slot and the memory, or says ErrResourceExhausted.
func (l *ledger) reserve(id string, memory int64) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	free := l.memory
	taken := make(map[int]bool, len(l.shares))
	for _, s := range l.shares {
		free -= s.memory
		taken[s.slot] = true
	}
	if memory > free {
		return 0, fmt.Errorf("memory: %d bytes asked for, %d free: %w", memory, max(0, free), errdefs.ErrResourceExhausted)
	}
	for slot := range l.slots {
		if !taken[slot] {
			l.shares[id] = share{slot, memory}
			return slot, nil
		}
	}
	return 0, fmt.Errorf("all %d places for dynos are taken: %w", l.slots, errdefs.ErrResourceExhausted)
}

// hold writes down what a dyno found at start has, whatever the limits say.
func (l *ledger) hold(id string, slot int, memory int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.shares[id] = share{slot, memory}
}

func (l *ledger) free(id string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.shares, id)
}

// left is what nobody holds.
func (l *ledger) left() (slots int, memory int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	memory = l.memory
	for _, s := range l.shares {
		memory -= s.memory
	}
	return max(0, l.slots-len(l.shares)), max(0, memory)
}
