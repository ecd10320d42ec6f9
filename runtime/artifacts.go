package runtime

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"

	"github.com/dynod/dynod/runtime/images"
)

// removeTimeout bounds the removal of artifacts, containerd's own collection in it.
const removeTimeout = 5 * time.Minute

// sumPrefix begins the name of a slug as it is shown.
const sumPrefix = "SHA256:"

// Cached is an artifact on this host.
type Cached struct {
	Name       string    // an image's reference, or "SHA256:<hex>" of a slug
	Bytes      int64     // on disk; layers that images share count for each of them
	References int       // dynos that use it
	Stack      bool      // it is a stack image of the configuration, which is never removed
	Used       time.Time // when a dyno last began or ended to use it, or it came
	Disk       Disk
}

// Disk is the filesystem that an artifact lies on.
type Disk struct {
	ID          uint64
	Bytes, Free int64 // Free: for all but root
}

// Artifacts is all that is cached, sorted by name. It asks containerd a few questions about each image.
func (r *Runtime) Artifacts(ctx context.Context) ([]Cached, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	found, err := r.slugs.List()
	if err != nil {
		return nil, err
	}
	var all []Cached
	for _, s := range found {
		all = append(all, r.cached(Cached{Name: sumPrefix + s.SHA256, Bytes: s.Bytes}, slugKey(s.SHA256), filepath.Join(r.config.Dir, "slugs")))
	}
	list, err := r.images.List(ctx)
	if err != nil {
		return nil, err
	}
	stacks := r.stackNames()
	for _, i := range list {
		c := Cached{Name: i.Name, Bytes: i.Bytes, Stack: slices.Contains(stacks, i.Name)}
		all = append(all, r.cached(c, imageKey(i.Name), i.Dir))
	}
	slices.SortFunc(all, func(a, b Cached) int { return strings.Compare(a.Name, b.Name) })
	return all, nil
}

// cached fills in what does not depend on the kind.
func (r *Runtime) cached(c Cached, key, dir string) Cached {
	for _, holder := range r.cache.Holders(key) {
		if check(holder) == nil { // and no fetch
			c.References++
		}
	}
	c.Used = r.cache.Used(key)
	var stat unix.Stat_t
	var fs unix.Statfs_t
	if dir != "" && errors.Join(unix.Stat(dir, &stat), unix.Statfs(dir, &fs)) == nil {
		c.Disk = Disk{ID: stat.Dev, Bytes: int64(fs.Blocks) * fs.Bsize, Free: int64(fs.Bavail) * fs.Bsize}
	}
	return c
}

// stackNames are the names of the stack images as they are now: an archive may have been replaced.
func (r *Runtime) stackNames() []string {
	var names []string
	for _, ref := range r.config.Stacks {
		if name, err := images.Name(ref); err == nil {
			names = append(names, name)
		}
	}
	return names
}

// Remove removes artifacts by their names and returns those that went, with their disk space. What a dyno uses, is
// being fetched or is a stack stays, without an error. When ctx ends what was begun is finished.
func (r *Runtime) Remove(ctx context.Context, names ...string) ([]string, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), removeTimeout)
	defer cancel()
	stacks := r.stackNames()
	var removed []string
	var errs []error
	for _, name := range names {
		err := r.removeOne(ctx, name, stacks)
		switch {
		case err == nil:
			removed = append(removed, name)
		case !errdefs.IsFailedPrecondition(err):
			errs = append(errs, err)
		}
	}
	return removed, errors.Join(append(errs, r.sweepLayers(ctx))...)
}

func (r *Runtime) removeOne(ctx context.Context, name string, stacks []string) error {
	if sum, ok := strings.CutPrefix(name, sumPrefix); ok {
		return r.removeSlug(sum)
	}
	if slices.Contains(stacks, name) {
		return fmt.Errorf("remove image %s: %w: it is a stack", name, errdefs.ErrFailedPrecondition)
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	return r.cache.Remove(func() error { return r.images.Forget(ctx, name) }, imageKey(name))
}

// removeSlug takes the name away while nobody can ask for it, and the rest at leisure.
func (r *Runtime) removeSlug(sum string) (err error) {
	var place string
	err = r.cache.Remove(func() (err error) { place, err = r.slugs.Hide(sum); return err }, slugKey(sum))
	if place != "" {
		err = errors.Join(err, os.RemoveAll(place))
	}
	return err
}

// sweepLayers lets go of layers that no image has and no dyno uses, those of a tag that has moved on among them, and has
// containerd delete what is left over. An image that comes meanwhile keeps its layers by itself.
func (r *Runtime) sweepLayers(ctx context.Context) error {
	chains, err := r.images.Chains(ctx)
	if err != nil {
		return err
	}
	list, err := r.images.List(ctx)
	if err != nil {
		return err
	}
	for _, chain := range chains {
		if slices.ContainsFunc(list, func(i images.Info) bool { return i.Chain == chain }) {
			continue
		}
		err := r.cache.Remove(func() error { return r.drop(ctx, chain) }, chainKey(chain))
		if err != nil && !errdefs.IsFailedPrecondition(err) {
			return err
		}
	}
	return r.images.Collect(ctx)
}

// drop is short, for those who wait to hold something.
func (r *Runtime) drop(ctx context.Context, chain string) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	return r.images.Drop(ctx, chain)
}
