package runtime

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"time"

	"github.com/containerd/containerd/api/services/tasks/v1"
	"github.com/containerd/containerd/api/types/task"
	"github.com/containerd/errdefs"
	"github.com/containerd/errdefs/pkg/errgrpc"
)

const (
	// Pauses between two tries to reach a containerd that is away.
	firstPause, longestPause = 20 * time.Millisecond, time.Second
	// patience is how often in a row a containerd that answers may fail to wait for a task.
	patience = 10
)

// State is what containerd says of a dyno's task.
type State string

// The states. A dyno with a task of any state still holds its container.
const (
	StateNone    State = "none"    // no task: remains, or a Create or Delete that was interrupted
	StateCreated State = "created" // made, and not started
	StateRunning State = "running" // dyno-init runs, with or without its plan
	StateExited  State = "exited"  // Wait says how
	StateUnknown State = "unknown" // containerd did not say
)

type taskInfo struct {
	State State
	PID   int
}

// task asks for a dyno's task; NotFound when there is none.
func (r *Runtime) task(ctx context.Context, id string) (taskInfo, error) {
	if err := check(id); err != nil {
		return taskInfo{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	answer, err := r.client.TaskService().Get(ctx, &tasks.GetRequest{ContainerID: r.container(id)})
	if err != nil {
		return taskInfo{}, fmt.Errorf("find task of dyno %s: %w", id, errgrpc.ToNative(err))
	}
	info := taskInfo{State: StateUnknown, PID: int(answer.GetProcess().GetPid())}
	switch answer.GetProcess().GetStatus() {
	case task.Status_CREATED:
		info.State = StateCreated
	case task.Status_RUNNING, task.Status_PAUSED, task.Status_PAUSING:
		info.State = StateRunning
	case task.Status_STOPPED:
		info.State = StateExited
	}
	return info, nil
}

// Exit is how a dyno ended.
type Exit struct {
	Code   int // 128 + Signal if a signal ended the command, as far as one can tell
	Signal int // 0: none
	At     time.Time

	OOM     bool   // the kernel killed a process of the dyno for the dyno's own memory limit
	HostOOM bool   // the kernel ended the dyno because memory was short outside of it
	Peak    uint64 // after an OOM: most memory and swap that the dyno had, bytes; 0 where the kernel does not say
}

// Wait returns how a dyno ended, once it has: at once if it had before. A nil error means that it really did; what
// it says stays to be read until Delete. While containerd is away Wait asks again. NotFound means that nobody knows
// the task any more, so how it ended never will be known; other errors are ctx's, or of a containerd that cannot
// tell.
func (r *Runtime) Wait(ctx context.Context, id string) (Exit, error) {
	if err := check(id); err != nil {
		return Exit{}, err
	}
	pause := firstPause
	for failed := 0; ; {
		answer, err := r.client.TaskService().Wait(ctx, &tasks.WaitRequest{ContainerID: r.container(id)})
		if err == nil {
			return r.exit(id, int(answer.GetExitStatus()), answer.GetExitedAt().AsTime()), nil
		}
		err = errgrpc.ToNative(err)
		if r.Ping(ctx) == nil {
			failed++
		}
		if errdefs.IsNotFound(err) || ctx.Err() != nil || r.life.Err() != nil || failed == patience {
			return Exit{}, fmt.Errorf("wait for dyno %s: %w", id, err)
		}
		select {
		case <-time.After(pause):
			pause = min(2*pause, longestPause)
		case <-ctx.Done():
		}
	}
}

func (r *Runtime) exit(id string, code int, at time.Time) Exit {
	e := Exit{Code: code, At: at}
	if code > 128 && code <= 128+64 {
		e.Signal = code - 128
	}
	oom, err := r.group(id).OOM()
	if err != nil {
		r.log.Warn("cannot tell whether the dyno ran out of memory", "dyno", id, "error", err)
	}
	e.OOM = oom.OutOfOwn()
	e.HostOOM = oom.Kills > 0 && !e.OOM && e.Signal == int(syscall.SIGKILL)
	if e.OOM || e.HostOOM {
		e.Peak = oom.Peak
	}
	return e
}

// Signal sends a signal to dyno-init, which passes it on to every process of the dyno; after SIGTERM it stays until
// the last is gone. SIGKILL ends them all at once. It needs no containerd once the dyno's process is known.
// NotFound if the dyno has ended.
func (r *Runtime) Signal(ctx context.Context, id string, s syscall.Signal) error {
	p, err := r.process(ctx, id)
	if err != nil {
		return err
	}
	if err := p.signal(s); err != nil {
		return fmt.Errorf("send %s to dyno %s: %w", s, id, err)
	}
	return nil
}

// PID is the host's number of a dyno's dyno-init; NotFound if the dyno has ended.
func (r *Runtime) PID(ctx context.Context, id string) (int, error) {
	p, err := r.process(ctx, id)
	if err != nil {
		return 0, err
	}
	return p.pid, nil
}

// process finds a dyno's first process and keeps hold of it.
func (r *Runtime) process(ctx context.Context, id string) (*process, error) {
	r.mu.Lock()
	known := r.processes[id]
	r.mu.Unlock()
	if known != nil && !known.ended() {
		return known, nil
	}
	p, err := r.openProcess(ctx, id)
	if err != nil {
		return nil, err
	}
	return r.know(id, p), nil
}

// know keeps hold of a dyno's process, once.
func (r *Runtime) know(id string, p *process) *process {
	r.mu.Lock()
	defer r.mu.Unlock()
	if other := r.processes[id]; other != nil {
		if other.pid == p.pid {
			p.close() // another caller was faster
			return other
		}
		other.close()
	}
	r.processes[id] = p
	return p
}

// openProcess asks twice: a process that is the task's after it was opened was so when it was opened.
func (r *Runtime) openProcess(ctx context.Context, id string) (*process, error) {
	t, err := r.task(ctx, id)
	if err != nil {
		return nil, err
	}
	if t.State == StateExited || t.PID == 0 {
		return nil, fmt.Errorf("find process of dyno %s: it has ended: %w", id, errdefs.ErrNotFound)
	}
	p, err := openProcess(t.PID)
	if err != nil {
		return nil, fmt.Errorf("open process of dyno %s: %w", id, err)
	}
	again, err := r.task(ctx, id)
	if err == nil && (again.PID != t.PID || again.State == StateExited) {
		err = fmt.Errorf("find process of dyno %s: it has ended: %w", id, errdefs.ErrNotFound)
	}
	if err != nil {
		p.close()
		return nil, err
	}
	return p, nil
}

// forget lets go of a dyno's process.
func (r *Runtime) forget(id string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if p := r.processes[id]; p != nil {
		p.close()
		delete(r.processes, id)
	}
}

// ignoreNotFound is for verbs that want something gone.
func ignoreNotFound(err error) error {
	if errdefs.IsNotFound(err) || errors.Is(err, syscall.ESRCH) {
		return nil
	}
	return err
}
