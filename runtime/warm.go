package runtime

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/containerd/errdefs"
	"github.com/google/uuid"
	"golang.org/x/sys/unix"

	"github.com/dynod/dynod/runtime/images"
)

// waitingLimits bound a sandbox in which nothing but dyno-init runs. There is room in them for the OCI runtime's start.
var waitingLimits = Limits{Memory: 64 << 20, Pids: 64}

// Spare says what to make ahead of a dyno.
type Spare struct {
	Slot      int
	Stack     string // a name of Config.Stacks
	Namespace string // path of the slot's network namespace
	Sysfs     string // a sysfs mount of that namespace, as of Container
}

// Warm makes a container ahead of a slug dyno, with dyno-init in it: Create takes it for the dyno that gets the slot. It may
// be repeated: a spare that is of no use any more is made anew. Calls for one slot must not overlap. A spare that nobody
// takes outlives this Runtime, and a later one lists it as a dyno.
//
// NotFound: the stack is unknown, or not on this host. NotImplemented: dynos have no user namespaces here.
func (r *Runtime) Warm(ctx context.Context, s Spare) error {
	if !r.config.mapped() {
		return fmt.Errorf("make sandbox ahead: %w: it needs user namespaces", errdefs.ErrNotImplemented)
	}
	n, err := r.needStack(s.Stack)
	if err != nil {
		return err
	}
	network, err := identify(s.Namespace)
	if err != nil {
		return fmt.Errorf("make sandbox ahead: %w", err)
	}
	old := r.spare(s.Slot)
	good := old != nil && old.sound() && old.network == network
	if good && old.stack.name == n.name && images.Settled(n.image.Name) {
		return nil
	}
	image, err := r.lookup(ctx, n.image.Name)
	if err != nil {
		return fmt.Errorf("make sandbox ahead: %w", err)
	}
	if good && old.chain == image.Chain {
		return nil
	}
	b := &sandbox{id: uuid.NewString(), stack: n, chain: image.Chain, network: network, sysfs: s.Sysfs != "", made: make(chan struct{})}
	if err := r.replace(ctx, s, b); err != nil {
		return fmt.Errorf("make sandbox ahead: %w", err)
	}
	return nil
}

// replace makes a sandbox in the place of the slot's older one, if there is one. Whoever wants the slot's waits for it.
func (r *Runtime) replace(ctx context.Context, s Spare, b *sandbox) error {
	defer close(b.made)
	old := r.putSpare(s.Slot, b)
	if old != nil {
		if err := r.Delete(ctx, old.id); err != nil {
			r.putSpare(s.Slot, old)
			return err
		}
	}
	err := r.makeSpare(ctx, s, b)
	if err == nil {
		return nil
	}
	left := r.Delete(context.WithoutCancel(ctx), b.id)
	if left == nil {
		r.putSpare(s.Slot, nil)
	}
	return errors.Join(err, left)
}

func (r *Runtime) makeSpare(ctx context.Context, s Spare, b *sandbox) error {
	c := Container{ID: b.id, Slot: s.Slot, Hostname: b.id, Limits: waitingLimits, Namespace: s.Namespace, Sysfs: s.Sysfs}
	if err := r.checkContainer(c); err != nil {
		return err
	}
	layers, held, err := r.layers(ctx, b.id, b.stack)
	if err != nil {
		return err
	}
	p, first := r.place(b.id), r.firstID(s.Slot)
	if err := r.boundDisk(c, p); err != nil {
		return err
	}
	if err := p.makeSpare(c, int(first)); err != nil {
		return fmt.Errorf("make directories: %w", err)
	}
	if err := p.note(held); err != nil {
		return err
	}
	if err := r.mountRoot(layers, p, s.Slot); err != nil {
		return err
	}
	d := r.spec(c, p)
	d.ReadOnly, d.Writable = true, temporary // the app comes with the dyno
	if err := r.createTask(ctx, c, d); err != nil {
		return err
	}
	if err := r.Start(ctx, b.id); err != nil {
		return err
	}
	waits, err := r.process(ctx, b.id)
	if err != nil {
		return err
	}
	if err := r.meet(ctx, b.id, waits); err != nil {
		return err
	}
	b.process = waits
	return nil
}

// meet keeps a connection on which dyno-init waits, so that its plan need not wait for it.
func (r *Runtime) meet(ctx context.Context, id string, p *process) error {
	ctx, cancel := context.WithTimeout(ctx, talkTimeout)
	defer cancel()
	door, err := r.open(ctx, id, p)
	if err != nil {
		return err
	}
	defer door.close()
	conn, err := door.next(ctx)
	if err == nil {
		p.waits.Store(conn)
	}
	return err
}

// needStack is what a slug dyno on a stack needs but the slug.
func (r *Runtime) needStack(stack string) (n needs, err error) {
	if n.image.Name, err = r.stack(stack); err == nil {
		n.name, err = images.Name(n.image.Name)
	}
	return n, err
}

// makeSpare is make, with a place for the app, and marked as nobody's.
func (p place) makeSpare(c Container, first int) error {
	if err := p.make(c, first); err != nil {
		return err
	}
	for _, dir := range []entry{{path: p.app(), mode: 0o755}, appEntry(p.appUpper()), {path: p.appWork(), mode: 0o700}} {
		if err := dir.makeDir(first); err != nil {
			return err
		}
	}
	return os.Symlink(p.container, filepath.Join(p.run, spare))
}

// sandbox is a container made ahead. Until it is taken it has an id like a dyno's own, so what a killed process leaves of it
// is found and removed like a dyno that nobody knows.
type sandbox struct {
	id      string
	stack   needs
	chain   string // the layers of the stack
	network identity
	sysfs   bool

	made    chan struct{} // closed when the rest is final
	process *process      // dyno-init; nil: it could not be made, and may have left something
}

// sound says whether dyno-init waits in it.
func (b *sandbox) sound() bool { return b.process != nil && !b.process.ended() }

// identity tells a namespace from all others.
type identity struct{ device, inode uint64 }

// identify is zero for a dyno's own that has no path.
func identify(namespace string) (identity, error) {
	var stat unix.Stat_t
	if namespace == "" {
		return identity{}, nil
	}
	if err := unix.Stat(namespace, &stat); err != nil {
		return identity{}, fmt.Errorf("find network namespace: %w", err)
	}
	return identity{stat.Dev, stat.Ino}, nil
}

func (r *Runtime) spare(slot int) *sandbox {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.spares[slot]
}

// putSpare makes b the slot's sandbox, nil for none, and returns the one before.
func (r *Runtime) putSpare(slot int, b *sandbox) *sandbox {
	r.mu.Lock()
	defer r.mu.Unlock()
	old := r.spares[slot]
	if b == nil {
		delete(r.spares, slot)
	} else {
		r.spares[slot] = b
	}
	return old
}

func (r *Runtime) spareIDs() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var ids []string
	for _, b := range r.spares {
		ids = append(ids, b.id)
	}
	return ids
}

// waiting says whether some sandbox keeps the stack that is needed on this host, so that it need not be asked for.
func (r *Runtime) waiting(n needs) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, b := range r.spares {
		if b.stack.name == n.name && images.Settled(n.image.Name) {
			return true
		}
	}
	return false
}
