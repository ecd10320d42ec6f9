package agenttest

import (
	"context"
	"maps"

	"github.com/dynod/dynod/runtime"
)

// spares are the fake runtime's sandboxes made ahead.
type spares struct {
	stacks map[int]string // by slot
	primed map[int]bool
	taken  int
}

// take is for whoever gets the slot, and may want another stack.
func (s *spares) take(c runtime.Container) {
	if stack := s.stacks[c.Slot]; stack != "" && c.Artifact.Slug != nil && c.Artifact.Slug.Stack == stack {
		s.taken++
	}
	delete(s.stacks, c.Slot)
}

// Warm makes a sandbox for the next dyno of a slot.
func (r *Runtime) Warm(ctx context.Context, s runtime.Spare) error {
	if err := r.enter(ctx, "Warm"); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.spares.stacks[s.Slot] = s.Stack
	return nil
}

// Prime is remembered.
func (r *Runtime) Prime(slot int) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.spares.primed[slot] = true
	return nil
}

// Primed says whether a slot was primed.
func (r *Runtime) Primed(slot int) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.spares.primed[slot]
}

// Spares is the stacks of the sandboxes that wait, by slot.
func (r *Runtime) Spares() map[int]string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return maps.Clone(r.spares.stacks)
}

// Taken counts the dynos that got such a sandbox.
func (r *Runtime) Taken() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.spares.taken
}
