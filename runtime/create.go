package runtime

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"

	"github.com/containerd/containerd/api/services/tasks/v1"
	"github.com/containerd/containerd/v2/core/containers"
	"github.com/containerd/errdefs"
	"github.com/containerd/errdefs/pkg/errgrpc"
	"github.com/containerd/typeurl/v2"

	"github.com/dynod/dynod/runtime/rootfs"
	"github.com/dynod/dynod/runtime/spec"
)

const (
	shimType = "io.containerd.runc.v2"
	// slotLabel keeps a dyno's slot in containerd.
	slotLabel = "dynod.slot"
)

// Container is one dyno before it has an order: nothing here is secret.
type Container struct {
	ID        string // the dyno's, a lower-case UUID
	Space     string // no other space's dynos share a shim with it
	Slot      int    // decides the host ids of its user namespace; no two dynos that exist at once have the same
	Artifact  Artifact
	Limits    Limits
	Hostname  string
	Namespace string // path of its network namespace; empty: a new one without any interface
	Sysfs     string // a sysfs mount of that namespace, read-only; empty: the dyno has no /sys
	Hosts     []byte // content of /etc/hosts
	Resolv    []byte // content of /etc/resolv.conf
	About     []byte // content of /etc/heroku/dyno; nil: there is none
}

// Limits is what a dyno may use. Zero means no limit of that kind, but no Swap is none.
type Limits struct {
	Memory     int64  // bytes
	Swap       int64  // bytes beside Memory
	CPUWeight  uint64 // 1..10000, where 100 is a usual weight; relative to other dynos
	CPUMilli   int64  // ceiling in thousandths of a CPU
	Pids       int64  // processes and threads: dyno-init too, and some seven more for each executed command
	MemoryHigh int64  // bytes above which it is slowed down; not on cgroup v1
	IO         IO
	Disk       int64 // bytes that it may write, where DiskQuota says that they are counted
}

// IO is what a dyno may ask of the disk that holds its files, each way.
type IO struct {
	Weight     uint64 // 1..10000, where 100 is usual; only on cgroup v2, and where the kernel knows the disk's costs
	Bytes      uint64 // a second
	Operations uint64 // a second
}

// Create makes a dyno's container, which then waits to be started; it takes one that Warm has made if that fits, which is
// started already. The artifact must have been prepared for it. A container of this id with a task, in whatever state, is
// kept as it is; parts of one are removed and made anew. After an error nothing is left, unless the error says so.
func (r *Runtime) Create(ctx context.Context, c Container) error {
	if err := r.checkContainer(c); err != nil {
		return err
	}
	if taken, err := r.takeSpare(ctx, c); taken || err != nil {
		if err == nil {
			r.created.warm.Add(1)
		}
		return err
	}
	if p := r.place(c.ID); p.used() {
		_, err := r.task(ctx, c.ID)
		if whole := err == nil && !p.spare(); whole || ignoreNotFound(err) != nil {
			return err
		}
		if err := r.remove(ctx, c.ID); err != nil {
			return fmt.Errorf("clear away remains: %w", err)
		}
	}
	if err := r.createAll(ctx, c); err != nil {
		return errors.Join(fmt.Errorf("create dyno %s: %w", c.ID, err), r.Delete(context.WithoutCancel(ctx), c.ID))
	}
	r.created.cold.Add(1)
	return nil
}

func (r *Runtime) checkContainer(c Container) error {
	if err := check(c.ID); err != nil {
		return err
	}
	last := int64(r.config.FirstID) + int64(c.Slot+1)*spec.IDs
	if c.Slot < 0 || last > 1<<32-1 {
		return fmt.Errorf("check dyno %s: %w: no user ids for slot %d", c.ID, errdefs.ErrInvalidArgument, c.Slot)
	}
	return nil
}

// firstID is the host id that is 0 in the dyno of a slot.
func (r *Runtime) firstID(slot int) uint32 {
	if !r.config.mapped() {
		return 0
	}
	return r.config.FirstID + uint32(slot)*spec.IDs
}

func (r *Runtime) createAll(ctx context.Context, c Container) error {
	n, err := r.need(c.Artifact)
	if err != nil {
		return err
	}
	layers, held, err := r.layers(ctx, c.ID, n)
	if err != nil {
		return err
	}
	place, first := r.place(c.ID), r.firstID(c.Slot)
	if err := r.boundDisk(c, place); err != nil {
		return err
	}
	if err := place.make(c, int(first)); err != nil {
		return fmt.Errorf("make directories: %w", err)
	}
	if err := place.note(held); err != nil {
		return err
	}
	if err := r.mountRoot(layers, place, c.Slot); err != nil {
		return err
	}
	d := r.spec(c, place)
	if c.Artifact.Slug != nil {
		d.ReadOnly, d.Writable = true, append([]string{appDir}, temporary...)
	}
	return r.createTask(ctx, c, d)
}

func (r *Runtime) mountRoot(layers []string, p place, slot int) error {
	users, err := r.mapping(slot)
	if err != nil {
		return err
	}
	return rootfs.Mount(rootfs.Tree{
		Lower: append([]string{r.initLayer}, layers...), Upper: p.upper(), Work: p.work(), Scratch: p.scratch(), Target: p.rootfs(), Users: users,
	})
}

func (r *Runtime) createTask(ctx context.Context, c Container, d spec.Dyno) error {
	done, err := r.creating.take(ctx)
	if err != nil {
		return err
	}
	defer done()
	ctx, cancel := context.WithTimeout(ctx, createTimeout)
	defer cancel()
	for {
		shim := r.shims.choose(c.Space)
		err := r.createIn(ctx, shim, c, d)
		if err == nil {
			err = r.secure(ctx, shim, c.ID)
		}
		if again := r.shims.made(shim, c.ID, err); !again || ctx.Err() != nil {
			return err
		}
		if err := r.deleteContainer(ctx, c.ID); err != nil {
			return err
		}
	}
}

// createIn makes container and task in a shim.
func (r *Runtime) createIn(ctx context.Context, shim *shimGroup, c Container, d spec.Dyno) error {
	d.Shim = shim.name
	encoded, err := typeurl.MarshalAny(spec.Build(d))
	if err != nil {
		return fmt.Errorf("encode specification: %w", err)
	}
	_, err = r.client.ContainerService().Create(ctx, containers.Container{
		ID:      c.ID,
		Labels:  map[string]string{slotLabel: strconv.Itoa(c.Slot), shimLabel: shim.name, spaceLabel: c.Space},
		Runtime: containers.RuntimeInfo{Name: shimType, Options: r.options},
		Spec:    encoded,
	})
	if err != nil {
		return fmt.Errorf("create container: %w", err)
	}
	// No root filesystem and no stdio: both are ours, the shim has neither to mount nor to copy.
	task, err := r.client.TaskService().Create(ctx, &tasks.CreateTaskRequest{ContainerID: c.ID, Options: r.options})
	if err != nil {
		return fmt.Errorf("create task: %w", errgrpc.ToNative(err))
	}
	if process, err := openProcess(int(task.GetPid())); err == nil {
		r.know(c.ID, process) // Start confirms it: a task that starts has had this process until then
	}
	return nil
}

func (r *Runtime) spec(c Container, p place) spec.Dyno {
	return spec.Dyno{
		Rootfs: p.rootfs(), Launch: p.launch(), Cgroupfs: p.cgroupfs(),
		Sysfs: c.Sysfs, Namespace: c.Namespace, Hostname: c.Hostname, CgroupPath: r.group(c.ID).String(),
		FirstID: r.firstID(c.Slot), Mapped: r.config.mapped(),
		Limits: r.limits(c.Limits),
	}
}

// limits are those that this host can hold.
func (r *Runtime) limits(l Limits) spec.Limits {
	limits := spec.Limits{
		Memory: l.Memory, MemoryHigh: l.MemoryHigh, Swap: l.Swap, CPUWeight: l.CPUWeight, CPUMilli: l.CPUMilli, Pids: l.Pids,
		Unified: r.cgroups.Unified, NoSwap: !r.cgroups.SwapCounted(),
	}
	if r.cgroups.IOWeighted() {
		limits.IO.Weight = l.IO.Weight
	}
	if r.device != nil {
		limits.IO.Bytes, limits.IO.Operations = l.IO.Bytes, l.IO.Operations
		limits.IO.Major, limits.IO.Minor = r.device.major, r.device.minor
	}
	return limits
}

// Start lets a created container run: dyno-init comes up and asks for its plan. Started already, or ended
// since, is nil. NotFound if there is no such task.
func (r *Runtime) Start(ctx context.Context, id string) error {
	if err := check(id); err != nil || r.place(id).link(assigned) != "" {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, createTimeout)
	defer cancel()
	_, err := r.client.TaskService().Start(ctx, &tasks.StartRequest{ContainerID: r.container(id)})
	if err == nil {
		return nil
	}
	r.forget(id) // what Create has opened may be another process by now
	t, lost := r.task(ctx, id)
	if lost == nil && (t.State == StateRunning || t.State == StateExited) {
		return nil
	}
	return fmt.Errorf("start dyno %s: %w", id, errgrpc.ToNative(err))
}

// errNoDirectory is a dyno of which nothing is left on the host.
func errNoDirectory(id string, err error) error {
	if errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("find dyno %s: %w", id, errdefs.ErrNotFound)
	}
	return fmt.Errorf("find dyno %s: %w", id, err)
}
