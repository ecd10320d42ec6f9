package agent

import (
	"context"
	"errors"
	"fmt"
	"syscall"

	"github.com/containerd/errdefs"
	"golang.org/x/sync/errgroup"

	"github.com/dynod/dynod/agent/dyno"
	"github.com/dynod/dynod/agent/meter"
	"github.com/dynod/dynod/logs"
	"github.com/dynod/dynod/network"
	"github.com/dynod/dynod/runtime"
)

// holding is what one life of a dyno takes from the host, and how. Its methods are the runner's blocking steps: they
// run beside the runner, one at a time, and so read the record as it was when the life began.
type holding struct {
	Parts
	rec    dyno.Record
	resolv []byte

	image    dyno.Image
	net      network.Attachment
	pipes    logs.Pipes
	pid      int
	launched bool           // dyno-init has its plan
	exited   bool           // dyno-init was gone when this agent came
	stdio    *runtime.Stdio // of an attached dyno that this agent has launched
}

// acquire takes all that a life needs, side by side.
func (h *holding) acquire(ctx context.Context) error {
	h.closePipes() // of a try before
	steps, ctx := errgroup.WithContext(ctx)
	steps.Go(func() error { return h.open(ctx) })
	steps.Go(func() error { return h.contain(ctx) })
	return steps.Wait()
}

func (h *holding) open(ctx context.Context) (err error) {
	defer h.Meter.Begin(ctx, meter.Logs)(&err)
	h.pipes, err = h.Logs.Open(ctx, h.rec.ID)
	return wrap("open logs", err)
}

// contain starts the container.
func (h *holding) contain(ctx context.Context) error {
	if err := h.gather(ctx); err != nil {
		return err
	}
	if err := h.create(ctx); err != nil {
		return err
	}
	return h.start(ctx)
}

func (h *holding) create(ctx context.Context) (err error) {
	defer h.Meter.Begin(ctx, meter.Create)(&err)
	return wrap("create container", h.Runtime.Create(ctx, h.container()))
}

func (h *holding) start(ctx context.Context) (err error) {
	defer h.Meter.Begin(ctx, meter.Start)(&err)
	if err := h.Runtime.Start(ctx, h.rec.ID); err != nil {
		return fmt.Errorf("start container: %w", err)
	}
	h.pid, err = h.Runtime.PID(ctx, h.rec.ID)
	return wrap("find process", err)
}

func (h *holding) gather(ctx context.Context) error {
	steps, ctx := errgroup.WithContext(ctx)
	steps.Go(func() (err error) {
		defer h.Meter.Begin(ctx, meter.Network)(&err)
		h.net, err = h.Network.Setup(ctx, h.networkRequest())
		return wrap("set up network", err)
	})
	steps.Go(func() error { return h.prepare(ctx) })
	return steps.Wait()
}

func (h *holding) prepare(ctx context.Context) (err error) {
	defer h.Meter.Begin(ctx, meter.Artifact)(&err)
	p, err := h.Runtime.Prepare(ctx, h.rec.ID, h.artifact())
	if err != nil {
		return wrap("prepare artifact", err)
	}
	h.image = dyno.Image{Entrypoint: p.Entrypoint, Command: p.Cmd, Environment: p.Env, Directory: p.Dir, Buildpacks: (*dyno.Buildpacks)(p.Buildpacks)}
	return wrap("check image", h.rec.Spec.Fits(h.image))
}

// regain finds again what an earlier agent gave to a container that runs. dyno-init holds its pipes if and only if its
// command was started; otherwise it is as good as just started itself, and says at the launch if that has failed already.
func (h *holding) regain(ctx context.Context) error {
	h.closePipes() // of a try before
	var errs [4]error
	h.net, errs[0] = h.Network.Setup(ctx, h.networkRequest())
	if h.pid, errs[1] = h.Runtime.PID(ctx, h.rec.ID); errdefs.IsNotFound(errs[1]) {
		h.exited, errs[1] = true, nil
	}
	starting := h.rec.Phase == dyno.Starting
	if starting {
		errs[2] = h.prepare(ctx)
	}
	kept, err := h.Runtime.Kept(ctx, h.rec.ID)
	switch {
	case err == nil:
		h.launched = true
		errs[3] = h.Logs.Restore(ctx, h.rec.ID, kept)
		logs.Pipes{Keep: kept}.Close()
	case !errdefs.IsNotFound(err):
		errs[3] = err
	case starting:
		h.pipes, errs[3] = h.Logs.Open(ctx, h.rec.ID)
	}
	return errors.Join(errs[:]...)
}

// launch hands dyno-init its plan, and lets go of the pipes: they are the dyno's now.
func (h *holding) launch(ctx context.Context) (err error) {
	if h.launched {
		return nil
	}
	defer h.Meter.Begin(ctx, meter.Launch)(&err)
	defer h.closePipes()
	stdio, err := h.Runtime.Launch(ctx, h.rec.ID, h.plan())
	var failed *runtime.LaunchError
	h.stdio, h.launched = stdio, err == nil || errors.As(err, &failed)
	if err == nil && h.rec.Spec.Attach == nil {
		h.Meter.Launched(h.rec.Since)
	}
	return err
}

func (h *holding) drained(ctx context.Context) error { return h.Logs.Drained(ctx, h.rec.ID) }

func (h *holding) shipped(ctx context.Context) error { return h.Logs.Shipped(ctx, h.rec.ID) }

// release removes container and network, in reverse of how they were taken. What is gone already is no error.
func (h *holding) release(ctx context.Context) error {
	h.closePipes()
	return errors.Join(
		wrap("delete container", h.Runtime.Delete(ctx, h.rec.ID)),
		wrap("tear down network", h.Network.Teardown(ctx, h.rec.ID)),
	)
}

func (h *holding) networkRequest() network.Request {
	spec := h.rec.Spec
	return network.Request{
		ID: h.rec.ID, Slot: h.rec.Slot, Port: spec.Port,
		Policy: spec.NetworkPolicy, Size: spec.Size, Space: spec.Metadata.Space,
	}
}

func (h *holding) artifact() runtime.Artifact {
	return artifact(h.rec.Spec.Artifact, h.rec.Spec.Secret)
}

func artifact(a dyno.Artifact, secret dyno.Secret) runtime.Artifact {
	if a.Image != "" {
		return runtime.Artifact{Image: &runtime.Image{Ref: a.Image, Username: secret.Username, Password: secret.Password}}
	}
	return runtime.Artifact{Slug: &runtime.Slug{URL: secret.SlugURL, SHA256: a.SHA256, Stack: a.Stack}}
}

func (h *holding) container() runtime.Container {
	l := h.rec.Spec.Limits
	return runtime.Container{
		ID: h.rec.ID, Space: h.rec.Spec.Metadata.Space, Slot: h.rec.Slot, Artifact: h.artifact(), Hostname: h.rec.ID,
		Limits: runtime.Limits{
			Memory: l.Memory, MemoryHigh: l.Memory * l.MemoryHigh / 100, Swap: l.Swap, CPUWeight: l.CPUWeight, CPUMilli: l.CPUMilli, Pids: l.Pids, Disk: l.Disk,
			IO: runtime.IO{Weight: l.IOWeight, Bytes: l.IOBytes, Operations: l.IOOperations},
		},
		Namespace: h.net.Namespace, Sysfs: h.net.Sysfs,
		Hosts:  fmt.Appendf(nil, "127.0.0.1\tlocalhost\n%s\t%s\n", h.net.Addr, h.rec.ID),
		Resolv: h.resolv,
		About:  h.rec.About(),
	}
}

// rlimitNproc is RLIMIT_NPROC, which package syscall does not name.
const rlimitNproc = 6

func (h *holding) plan() runtime.Plan {
	l := h.rec.Spec.Limits
	attach := h.rec.Spec.Attach
	return runtime.Plan{
		Args: h.rec.Spec.Arguments(h.image), Env: environ(h.rec, h.image, attach), Dir: h.rec.Spec.Directory(h.image), Attach: attachment(attach),
		Rlimits: []runtime.Rlimit{
			{Resource: syscall.RLIMIT_CORE, Soft: 0, Hard: 0},
			{Resource: syscall.RLIMIT_NOFILE, Soft: l.Files, Hard: l.Files},
			{Resource: rlimitNproc, Soft: uint64(l.Pids), Hard: uint64(l.Pids)},
		},
		Stdout: h.pipes.Stdout, Stderr: h.pipes.Stderr, Keep: h.pipes.Keep,
	}
}

func (h *holding) closePipes() {
	h.pipes.Close()
	h.pipes = logs.Pipes{}
}

func wrap(verb string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", verb, err)
}
