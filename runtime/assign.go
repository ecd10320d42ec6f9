package runtime

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/containerd/errdefs"
	"golang.org/x/sync/errgroup"

	"github.com/dynod/dynod/runtime/images"
	"github.com/dynod/dynod/runtime/inside"
	"github.com/dynod/dynod/runtime/rootfs"
)

// takeSpare makes the slot's sandbox, if there is one, the dyno's. From the first step on it lies under the dyno's id, and is
// marked until the last; so whatever ends this in between, what is there is the dyno's, and only parts of one.
func (r *Runtime) takeSpare(ctx context.Context, c Container) (taken bool, err error) {
	b, err := r.claimSpare(ctx, c.Slot)
	if b == nil {
		return false, err
	}
	defer r.cache.Release(b.id)
	if err := os.Rename(r.place(b.id).run, r.place(c.ID).run); err != nil {
		if errors.Is(err, fs.ErrExist) || errors.Is(err, fs.ErrNotExist) {
			err = nil // the dyno has a container, or remains of one, already; or the sandbox was never made
		}
		return false, errors.Join(err, r.remove(context.WithoutCancel(ctx), b.id))
	}
	r.passProcess(b.id, c.ID)
	if err := r.assign(ctx, b, c); err != nil {
		r.log.Warn("a sandbox made ahead is of no use", "dyno", c.ID, "error", err)
		return false, nil
	}
	return true, nil
}

// claimSpare waits for one that is being made.
func (r *Runtime) claimSpare(ctx context.Context, slot int) (*sandbox, error) {
	for {
		b := r.spare(slot)
		if b == nil {
			return nil, nil
		}
		select {
		case <-b.made:
		case <-ctx.Done():
			return nil, fmt.Errorf("wait for sandbox: %w", ctx.Err())
		}
		if r.unputSpare(slot, b) {
			return b, nil
		}
	}
}

// assign gives a sandbox all that is one dyno's. Nothing of an app runs before it has it.
func (r *Runtime) assign(ctx context.Context, b *sandbox, c Container) error {
	n, err := r.fits(ctx, b, c)
	if err != nil {
		return err
	}
	p, h := r.place(c.ID), hold{Image: n.name, Chain: b.chain, Slug: n.slug.SHA256}
	r.cache.Hold(c.ID, h.keys()...)
	if err := p.note(h); err != nil {
		return err
	}
	var steps errgroup.Group
	steps.Go(func() error { return r.bringApp(b.process, n, c, p) })
	steps.Go(func() error {
		if err := r.relimit(c, p); err != nil {
			return err
		}
		return p.tell(c, int(r.firstID(c.Slot)))
	})
	if err := steps.Wait(); err != nil {
		return err
	}
	return os.Rename(filepath.Join(p.run, spare), filepath.Join(p.run, assigned))
}

// fits says what the dyno needs, or why it cannot have the sandbox.
func (r *Runtime) fits(ctx context.Context, b *sandbox, c Container) (needs, error) {
	n, err := r.need(c.Artifact)
	if err != nil {
		return n, err
	}
	network, err := identify(c.Namespace)
	switch {
	case err != nil:
	case c.Artifact.Slug == nil || n.name != b.stack.name:
		err = fmt.Errorf("%w: the dyno has another stack", errdefs.ErrFailedPrecondition)
	case c.Space != "":
		err = fmt.Errorf("%w: the dyno shares no shim outside of its space", errdefs.ErrFailedPrecondition)
	case network != b.network || b.sysfs != (c.Sysfs != ""):
		err = fmt.Errorf("%w: the dyno has another network", errdefs.ErrFailedPrecondition)
	case !b.sound():
		err = fmt.Errorf("%w: its process is gone", errdefs.ErrFailedPrecondition)
	case !images.Settled(n.image.Name):
		err = r.upToDate(ctx, b, n)
	}
	return n, err
}

// upToDate refuses a stack whose tag has moved on.
func (r *Runtime) upToDate(ctx context.Context, b *sandbox, n needs) error {
	image, err := r.lookup(ctx, n.image.Name)
	if err == nil && image.Chain != b.chain {
		err = fmt.Errorf("%w: its stack is older", errdefs.ErrFailedPrecondition)
	}
	return err
}

// relimit gives the sandbox the dyno's limits instead of those of waiting.
func (r *Runtime) relimit(c Container, p place) error {
	group := r.group(c.ID)
	for _, f := range r.limits(c.Limits).Files() {
		if err := group.Write(f.Controller, f.Name, f.Value); err != nil {
			return err
		}
	}
	return r.reboundDisk(c, p)
}

// tell writes what the dyno is to know of itself, through its mounted root, where no link of the stack may lead it away.
func (p place) tell(c Container, first int) error {
	if c.About != nil {
		if err := p.makeAbout(first); err != nil {
			return err
		}
	}
	for _, file := range p.private(c, p.rootfs()) {
		err := file.write(0) // most are there since the sandbox was made
		if errors.Is(err, fs.ErrNotExist) {
			err = file.makeFile(first)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (p place) makeAbout(first int) error {
	dir := entry{path: filepath.Join(p.rootfs(), "etc", "heroku"), mode: 0o755}
	err := os.Mkdir(dir.path, 0o700)
	if errors.Is(err, fs.ErrExist) {
		var info fs.FileInfo
		if info, err = os.Lstat(dir.path); err == nil && !info.IsDir() {
			err = fmt.Errorf("%w: %s is no directory", errdefs.ErrFailedPrecondition, dir.path)
		}
	}
	if err != nil {
		return err
	}
	return dir.own(first)
}

// bringApp mounts the slug and a fresh layer on it at /app, and names the host, as dyno-init sees both.
func (r *Runtime) bringApp(waits *process, n needs, c Container, p place) error {
	slug, err := r.slugs.Path(n.slug.SHA256)
	if err != nil {
		return err
	}
	users, err := r.mapping(c.Slot)
	if err != nil {
		return err
	}
	err = rootfs.Mount(rootfs.Tree{
		Lower: []string{filepath.Join(slug, appDir)}, Upper: p.appUpper(), Work: p.appWork(), Scratch: p.scratch(), Target: p.app(),
		Users: users,
	})
	if err != nil {
		return err
	}
	app, err := rootfs.Copy(p.app())
	if err != nil {
		return err
	}
	defer app.Close()
	return waits.control(func(process int) error {
		return inside.Make(process, inside.Change{Hostname: c.Hostname, Mount: app, At: appDir})
	})
}

// unputSpare takes b out if it is still the slot's.
func (r *Runtime) unputSpare(slot int, b *sandbox) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.spares[slot] != b {
		return false
	}
	delete(r.spares, slot)
	return true
}

// passProcess is for a process whose container gets a dyno.
func (r *Runtime) passProcess(from, to string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if p := r.processes[from]; p != nil {
		delete(r.processes, from)
		r.processes[to] = p
	}
}
