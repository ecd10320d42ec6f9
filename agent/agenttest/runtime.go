package agenttest

import (
	"context"
	"fmt"
	"os"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/containerd/errdefs"

	"github.com/dynod/dynod/runtime"
)

// Runtime is a fake agent.Runtime. A dyno ends by Exit, or by a signal it heeds: SIGTERM once it is launched and
// unless Deaf, SIGHUP likewise where it is attached, SIGKILL always.
type Runtime struct {
	mu         sync.Mutex
	containers map[string]*container
	fail       map[string]error
	hold       map[string]chan struct{}
	deaf       bool
	usage      map[string]runtime.Usage
	running    int
	creates    int
	spares     spares
	launches   int
	execs      []*Process
	cache      cache
}

type container struct {
	made    runtime.Container
	state   runtime.State
	plan    *runtime.Plan
	exited  chan struct{}
	exit    runtime.Exit
	out     chan uint64
	signals []syscall.Signal
	command *Command // of one that was launched with an Attach
}

// NewRuntime is an empty one.
func NewRuntime() *Runtime {
	return &Runtime{
		containers: map[string]*container{}, fail: map[string]error{}, hold: map[string]chan struct{}{}, usage: map[string]runtime.Usage{}, spares: spares{stacks: map[int]string{}, primed: map[int]bool{}},
		cache: cache{fetched: make(chan struct{}, 1), held: map[string]runtime.Artifact{}},
	}
}

// Fail makes a method fail until err is nil again.
func (r *Runtime) Fail(method string, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.fail[method] = err
}

// Hold makes a method wait until release is called or its context ends.
func (r *Runtime) Hold(method string) (release func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	gate := make(chan struct{})
	r.hold[method] = gate
	return sync.OnceFunc(func() { close(gate) })
}

// Deaf makes dynos survive SIGTERM and SIGHUP.
func (r *Runtime) Deaf() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.deaf = true
}

// Exit ends a dyno's command.
func (r *Runtime) Exit(id string, exit runtime.Exit) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.containers[id].end(exit)
}

// Signals is what a dyno was sent.
func (r *Runtime) Signals(id string) []syscall.Signal {
	r.mu.Lock()
	defer r.mu.Unlock()
	if c := r.containers[id]; c != nil {
		return c.signals
	}
	return nil
}

// Creates counts containers made.
func (r *Runtime) Creates() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.creates
}

// Launches counts calls of Launch.
func (r *Runtime) Launches() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.launches
}

// Made is what a dyno's container was made of; zero before.
func (r *Runtime) Made(id string) runtime.Container {
	r.mu.Lock()
	defer r.mu.Unlock()
	if c := r.containers[id]; c != nil {
		return c.made
	}
	return runtime.Container{}
}

// Plan is what a dyno was launched with; nil before.
func (r *Runtime) Plan(id string) *runtime.Plan {
	r.mu.Lock()
	defer r.mu.Unlock()
	if c := r.containers[id]; c != nil {
		return c.plan
	}
	return nil
}

func (c *container) end(exit runtime.Exit) {
	if c.state == runtime.StateExited {
		return
	}
	exit.At = time.Now()
	c.state, c.exit = runtime.StateExited, exit
	if c.command != nil {
		c.command.close()
	}
	close(c.exited)
}

// enter waits where the method is held up, and fails where it is to fail.
func (r *Runtime) enter(ctx context.Context, method string) error {
	r.mu.Lock()
	gate, err := r.hold[method], r.fail[method]
	r.mu.Unlock()
	if gate != nil {
		select {
		case <-gate:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return err
}

func (r *Runtime) find(id string) (*container, error) {
	if c := r.containers[id]; c != nil {
		return c, nil
	}
	return nil, fmt.Errorf("container %s: %w", id, errdefs.ErrNotFound)
}

// living is find for what needs the process.
func (r *Runtime) living(id string) (*container, error) {
	c, err := r.find(id)
	if err == nil && c.state == runtime.StateExited {
		return nil, fmt.Errorf("process of %s: %w", id, errdefs.ErrNotFound)
	}
	return c, err
}

// Create makes a container unless it is there.
func (r *Runtime) Create(ctx context.Context, c runtime.Container) error {
	if err := r.enter(ctx, "Create"); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.containers[c.ID] == nil {
		r.creates++
		r.spares.take(c)
		r.containers[c.ID] = &container{made: c, state: runtime.StateCreated, exited: make(chan struct{}), out: make(chan uint64, 1)}
	}
	return nil
}

// Start makes it run.
func (r *Runtime) Start(ctx context.Context, id string) error {
	if err := r.enter(ctx, "Start"); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	c, err := r.find(id)
	if err == nil && c.state == runtime.StateCreated {
		c.state = runtime.StateRunning
	}
	return err
}

// Launch keeps the plan.
func (r *Runtime) Launch(ctx context.Context, id string, p runtime.Plan) (*runtime.Stdio, error) {
	if err := r.enter(ctx, "Launch"); err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.launches++
	c, err := r.living(id)
	if err != nil || c.plan != nil {
		return nil, err
	}
	c.plan = &p
	if p.Attach == nil {
		return nil, nil
	}
	stdio, command, err := newCommand(p)
	c.command = command
	return stdio, err
}

// Exec starts a Process.
func (r *Runtime) Exec(ctx context.Context, id string, p runtime.Plan) (runtime.Process, error) {
	if err := r.enter(ctx, "Exec"); err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, err := r.find(id); err != nil {
		return nil, err
	}
	process, err := newProcess(p)
	if err == nil {
		r.execs = append(r.execs, process)
	}
	return process, err
}

// Command is what an attached dyno runs; nil before its launch.
func (r *Runtime) Command(id string) *Command {
	r.mu.Lock()
	defer r.mu.Unlock()
	if c := r.containers[id]; c != nil {
		return c.command
	}
	return nil
}

// Execs are the processes that Exec has started.
func (r *Runtime) Execs() []*Process {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.execs)
}

// Wait returns the exit.
func (r *Runtime) Wait(ctx context.Context, id string) (runtime.Exit, error) {
	if err := r.enter(ctx, "Wait"); err != nil {
		return runtime.Exit{}, err
	}
	r.mu.Lock()
	c, err := r.find(id)
	r.mu.Unlock()
	if err != nil {
		return runtime.Exit{}, err
	}
	select {
	case <-c.exited:
		r.mu.Lock()
		defer r.mu.Unlock()
		return c.exit, nil
	case <-ctx.Done():
		return runtime.Exit{}, ctx.Err()
	}
}

// Signal ends the dyno if it heeds the signal.
func (r *Runtime) Signal(ctx context.Context, id string, sig syscall.Signal) error {
	if err := r.enter(ctx, "Signal"); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	c, err := r.find(id)
	if err != nil {
		return err
	}
	c.signals = append(c.signals, sig)
	heeded := (sig == syscall.SIGTERM || sig == syscall.SIGHUP && c.command != nil) && !r.deaf && c.plan != nil
	if sig == syscall.SIGKILL || heeded {
		c.end(runtime.Exit{Code: 128 + int(sig), Signal: int(sig)})
	}
	return nil
}

// Delete removes it.
func (r *Runtime) Delete(ctx context.Context, id string) error {
	if err := r.enter(ctx, "Delete"); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.cache.held, id)
	if c := r.containers[id]; c != nil {
		c.end(runtime.Exit{Code: 137, Signal: 9})
		delete(r.containers, id)
	}
	return nil
}

// fakePID is the process id of every fake dyno.
const fakePID = 4242

// PID is fakePID.
func (r *Runtime) PID(ctx context.Context, id string) (int, error) {
	if err := r.enter(ctx, "PID"); err != nil {
		return 0, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	_, err := r.living(id)
	return fakePID, err
}

// Kept is nothing, once the plan is there.
func (r *Runtime) Kept(_ context.Context, id string) ([]*os.File, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	c, err := r.find(id)
	if err != nil {
		return nil, err
	}
	if c.plan == nil || c.state != runtime.StateRunning {
		return nil, fmt.Errorf("pipes of %s: %w", id, errdefs.ErrNotFound)
	}
	return nil, nil
}

// List is all containers.
func (r *Runtime) List(ctx context.Context) ([]runtime.Found, error) {
	if err := r.enter(ctx, "List"); err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	var found []runtime.Found
	for id, c := range r.containers {
		found = append(found, runtime.Found{ID: id, Slot: c.made.Slot, State: c.state, PID: fakePID})
	}
	return found, nil
}

// Ping answers.
func (r *Runtime) Ping(ctx context.Context) error { return r.enter(ctx, "Ping") }
