package runtime

import (
	"context"
	"maps"
	"slices"
	"sync"
	"syscall"
)

// Farewell asks every dyno that this Runtime knows to end, and returns when all have or ctx ends.
func (r *Runtime) Farewell(ctx context.Context) {
	r.mu.Lock()
	all := slices.Collect(maps.Values(r.processes))
	r.mu.Unlock()
	var leaving sync.WaitGroup
	for _, p := range all {
		if p.signal(syscall.SIGTERM) == nil {
			leaving.Go(func() { p.await(ctx) })
		}
	}
	leaving.Wait()
}

// await returns when the process has ended or ctx has.
func (p *process) await(ctx context.Context) {
	ended := make(chan struct{})
	stop, err := p.watch(func() { close(ended) })
	if err != nil {
		return // it was let go of
	}
	defer stop()
	select {
	case <-ended:
	case <-ctx.Done():
	}
}
