package runtime

import (
	"context"
	"fmt"
	"path/filepath"

	"github.com/containerd/errdefs"

	"github.com/dynod/dynod/runtime/images"
	"github.com/dynod/dynod/runtime/slugs"
)

// Artifact is what a dyno runs: exactly one of the two.
type Artifact struct {
	Image *Image
	Slug  *Slug
}

// Image is a container image.
type Image struct {
	Ref                string // a registry's reference, by digest if it shall be exactly one, or the path of an OCI archive
	Username, Password string // for the registry
}

// Slug is a compiled app and the stack below it.
type Slug struct {
	URL    string
	SHA256 string // of the compressed file, in hexadecimal; "SHA256:" in front of it is accepted
	Stack  string // a name of Config.Stacks
}

// ChecksumError is a slug that is not the one that was ordered.
type ChecksumError = slugs.ChecksumError

// Prepared is what an image says about its command; nothing for a slug. Users, volumes and ports of images are never
// looked at, nor labels but that of Cloud Native Buildpacks.
type Prepared struct {
	Entrypoint, Cmd, Env []string
	Dir                  string
	Buildpacks           *Buildpacks // nil for an image that Cloud Native Buildpacks did not build
}

// Buildpacks is what a Cloud Native Buildpacks image says about itself.
type Buildpacks = images.Buildpacks

// Prepare makes an artifact present, verified and unpacked for a dyno: at once if it is already, and once however many
// ask. It stays until the dyno is deleted. A fetch goes on for the others when one caller's ctx ends. *ChecksumError,
// InvalidArgument and NotFound will not get better by asking again; other errors may.
func (r *Runtime) Prepare(ctx context.Context, id string, a Artifact) (Prepared, error) {
	if err := check(id); err != nil {
		return Prepared{}, err
	}
	n, err := r.need(a)
	if err != nil {
		return Prepared{}, err
	}
	r.cache.Hold(id, n.keys()...)
	if a.Slug != nil && r.waiting(n) {
		_, err := r.slugs.Path(n.slug.SHA256)
		if err == nil {
			return Prepared{}, nil // its stack is there, under a sandbox
		}
	}
	if err := r.fetch(ctx, n); err != nil || a.Slug != nil {
		return Prepared{}, err
	}
	image, err := r.pin(ctx, id, n)
	if err != nil {
		return Prepared{}, err
	}
	return Prepared{Entrypoint: image.Entrypoint, Cmd: image.Cmd, Env: image.Env, Dir: image.Dir, Buildpacks: image.Buildpacks}, nil
}

// pin finds the image that a name leads to now, for all of the dyno's present life.
func (r *Runtime) pin(ctx context.Context, id string, n needs) (images.Image, error) {
	image, err := r.lookup(ctx, n.image.Name)
	if err != nil {
		return image, err
	}
	r.cache.Hold(id, chainKey(image.Chain))
	r.mu.Lock()
	defer r.mu.Unlock()
	r.prepared[id] = image
	return image, nil
}

// pinned is the image that Prepare has found for a dyno, or else the one that its name leads to.
func (r *Runtime) pinned(ctx context.Context, id string, n needs) (images.Image, error) {
	r.mu.Lock()
	image, ok := r.prepared[id]
	r.mu.Unlock()
	if ok && image.Name == n.name {
		return image, nil
	}
	return r.lookup(ctx, n.image.Name)
}

// Keep keeps an artifact from being removed until the dyno is deleted, whether it is here or not. It outlives no restart.
func (r *Runtime) Keep(id string, a Artifact) error {
	if err := check(id); err != nil {
		return err
	}
	n, err := r.need(a)
	if err != nil {
		return err
	}
	r.cache.Hold(id, n.keys()...)
	return nil
}

func (a Artifact) check() error {
	if (a.Image == nil) == (a.Slug == nil) {
		return fmt.Errorf("check artifact: %w: either an image or a slug", errdefs.ErrInvalidArgument)
	}
	return nil
}

// needs are what an artifact is put together from: an image, and a slug on it or none.
type needs struct {
	image images.Ref
	name  string // of the image, in containerd
	slug  slugs.Slug
}

// need checks an artifact and names its parts.
func (r *Runtime) need(a Artifact) (n needs, err error) {
	if err := a.check(); err != nil {
		return n, err
	}
	if a.Slug != nil {
		n.slug.URL = a.Slug.URL
		if n.image.Name, err = r.stack(a.Slug.Stack); err != nil {
			return n, err
		}
		if n.slug.SHA256, err = slugs.Sum(a.Slug.SHA256); err != nil {
			return n, err
		}
	} else {
		n.image = images.Ref{Name: a.Image.Ref, Username: a.Image.Username, Password: a.Image.Password}
		if filepath.IsAbs(n.image.Name) && !r.config.AllowFile {
			return n, fmt.Errorf("check artifact: %w: images by path are not allowed here", errdefs.ErrInvalidArgument)
		}
	}
	n.name, err = images.Name(n.image.Name)
	return n, err
}

func (r *Runtime) stack(name string) (string, error) {
	ref, ok := r.config.Stacks[name]
	if !ok {
		return "", fmt.Errorf("find stack %q: %w", name, errdefs.ErrNotFound)
	}
	return ref, nil
}

func (r *Runtime) lookup(ctx context.Context, ref string) (images.Image, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	return r.images.Lookup(ctx, ref)
}

// layers are the directories of what a dyno is made of, the topmost first, and what it holds by that.
func (r *Runtime) layers(ctx context.Context, id string, n needs) ([]string, hold, error) {
	r.cache.Hold(id, n.keys()...)
	image, err := r.pinned(ctx, id, n)
	if err != nil {
		return nil, hold{}, err
	}
	h := hold{Image: n.name, Chain: image.Chain, Slug: n.slug.SHA256}
	r.cache.Hold(id, h.keys()...) // before they are looked for: nobody removes them now
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	layers, err := r.images.Layers(ctx, image)
	if err != nil || n.slug.SHA256 == "" {
		return layers, h, err
	}
	slug, err := r.slugs.Path(n.slug.SHA256)
	if err != nil {
		return nil, h, err
	}
	return append([]string{slug}, layers...), h, nil
}
