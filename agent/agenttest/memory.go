package agenttest

import (
	"context"

	"github.com/dynod/dynod/runtime"
)

// Use sets what a dyno uses, and how many threads of every dyno run.
func (r *Runtime) Use(id string, u runtime.Usage, running int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.usage[id], r.running = u, running
}

// RunOut makes a dyno run out of its own memory, and live on.
func (r *Runtime) RunOut(id string, peak uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.containers[id].out <- peak
}

// Usage is what Use said.
func (r *Runtime) Usage(_ context.Context, id string) (runtime.Usage, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	_, err := r.find(id)
	return r.usage[id], err
}

// Runnable is what Use said.
func (r *Runtime) Runnable(_ context.Context, id string) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	_, err := r.find(id)
	return r.running, err
}

// OutOfMemory waits for RunOut.
func (r *Runtime) OutOfMemory(ctx context.Context, id string) (uint64, error) {
	r.mu.Lock()
	c, err := r.find(id)
	r.mu.Unlock()
	if err != nil {
		return 0, err
	}
	select {
	case peak := <-c.out:
		return peak, nil
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}
