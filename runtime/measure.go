package runtime

import (
	"context"

	"github.com/dynod/dynod/runtime/cgroup"
)

// Usage is what a dyno uses now.
type Usage = cgroup.Usage

// Usage reads a dyno's counters from the kernel, without asking containerd. NotFound if the dyno has no cgroup.
func (r *Runtime) Usage(_ context.Context, id string) (Usage, error) {
	if err := check(id); err != nil {
		return Usage{}, err
	}
	return r.group(id).Usage()
}

// Runnable counts a dyno's threads that run or wait for a CPU at this moment, as Usage does.
func (r *Runtime) Runnable(_ context.Context, id string) (int, error) {
	if err := check(id); err != nil {
		return 0, err
	}
	return r.group(id).Runnable()
}

// OutOfMemory returns once the dyno's own memory limit has cost it a process while others may live on, with the most
// memory and swap that it had, in bytes (0: unknown). NotFound when the dyno has no cgroup any more; other errors are
// ctx's, or of a kernel that does not tell.
func (r *Runtime) OutOfMemory(ctx context.Context, id string) (peak uint64, err error) {
	if err := check(id); err != nil {
		return 0, err
	}
	group := r.group(id)
	if err := group.AwaitOOM(ctx); err != nil {
		return 0, err
	}
	oom, err := group.OOM()
	return oom.Peak, err
}
