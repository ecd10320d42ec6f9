package runtime

import (
	"context"
	goruntime "runtime"
	"time"
)

// turns lets a few at once do what costs the host's CPUs: more would only wait for one another, in the kernel. A turn that takes
// longer than such work does counts no more: it waits for something that hangs, and is not to hold up the others.
type turns struct {
	free chan struct{}
	most time.Duration
}

func newTurns(n int, most time.Duration) turns { return turns{make(chan struct{}, n), most} }

// creating is how many containers are made at once.
func creating() int { return 2 * goruntime.NumCPU() }

// deleting is how many are removed at once: they wait for nobody, and starts for the CPUs.
func deleting() int { return max(1, goruntime.NumCPU()/2) }

// take waits for a turn. done ends it.
func (t turns) take(ctx context.Context) (done func(), err error) {
	select {
	case t.free <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	leave := func() { <-t.free }
	late := time.AfterFunc(t.most, leave)
	return func() {
		if late.Stop() {
			leave()
		}
	}, nil
}
