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

// Prepared is what an image says about its command; nothing for a slug. Labels, users, volumes and ports of images
// are never looked at.
type Prepared struct {
	Entrypoint, Cmd, Env []string
	Dir                  string
}

// Prepare makes an artifact present, verified and unpacked: at once if it is already, and once however many
// ask. It goes on for the others when one caller's ctx ends. *ChecksumError, InvalidArgument and NotFound will not get
// better by asking again; other errors may.
func (r *Runtime) Prepare(ctx context.Context, a Artifact) (Prepared, error) {
	if err := a.check(); err != nil {
		return Prepared{}, err
	}
	if a.Slug != nil {
		return Prepared{}, r.prepareSlug(ctx, *a.Slug)
	}
	ref := images.Ref{Name: a.Image.Ref, Username: a.Image.Username, Password: a.Image.Password}
	if filepath.IsAbs(ref.Name) && !r.config.AllowFile {
		return Prepared{}, fmt.Errorf("check artifact: %w: images by path are not allowed here", errdefs.ErrInvalidArgument)
	}
	if err := r.fetchImage(ctx, ref); err != nil {
		return Prepared{}, err
	}
	image, err := r.lookup(ctx, ref.Name)
	if err != nil {
		return Prepared{}, err
	}
	return Prepared{Entrypoint: image.Entrypoint, Cmd: image.Cmd, Env: image.Env, Dir: image.Dir}, nil
}

func (a Artifact) check() error {
	if (a.Image == nil) == (a.Slug == nil) {
		return fmt.Errorf("check artifact: %w: either an image or a slug", errdefs.ErrInvalidArgument)
	}
	return nil
}

func (r *Runtime) prepareSlug(ctx context.Context, s Slug) error {
	stack, err := r.stack(s.Stack)
	if err != nil {
		return err
	}
	sum, err := slugs.Sum(s.SHA256)
	if err != nil {
		return err
	}
	if err := r.fetchImage(ctx, images.Ref{Name: stack}); err != nil {
		return fmt.Errorf("prepare stack %s: %w", s.Stack, err)
	}
	return r.once(ctx, "slug "+sum, func(ctx context.Context) error {
		return r.slugs.Fetch(ctx, slugs.Slug{URL: s.URL, SHA256: sum})
	})
}

func (r *Runtime) stack(name string) (string, error) {
	ref, ok := r.config.Stacks[name]
	if !ok {
		return "", fmt.Errorf("find stack %q: %w", name, errdefs.ErrNotFound)
	}
	return ref, nil
}

// fetchImage joins only those who come with the same credentials: who may not have an image must not get it because
// somebody else is just fetching it.
func (r *Runtime) fetchImage(ctx context.Context, ref images.Ref) error {
	key := fmt.Sprintf("image %q %q %q", ref.Name, ref.Username, ref.Password)
	return r.once(ctx, key, func(ctx context.Context) error { return r.images.Fetch(ctx, ref) })
}

func (r *Runtime) lookup(ctx context.Context, ref string) (images.Image, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	return r.images.Lookup(ctx, ref)
}

// once runs f unless it runs already under the same key, and waits for it. f ends with the Runtime, not with ctx.
func (r *Runtime) once(ctx context.Context, key string, f func(context.Context) error) error {
	r.mu.Lock() // Close waits for what has begun before it, and nothing begins after
	if r.life.Err() != nil {
		r.mu.Unlock()
		return fmt.Errorf("fetch artifact: the runtime is closed: %w", errdefs.ErrUnavailable)
	}
	r.fetches.Add(1)
	r.mu.Unlock()
	result := r.flight.DoChan(key, func() (any, error) {
		ctx, cancel := context.WithTimeout(r.life, fetchTimeout)
		defer cancel()
		return nil, f(ctx)
	})
	done := make(chan error, 1)
	go func() {
		defer r.fetches.Done()
		done <- (<-result).Err
	}()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return fmt.Errorf("wait for artifact: %w", ctx.Err())
	}
}

// layers are the directories of an artifact that is present, the topmost first.
func (r *Runtime) layers(ctx context.Context, a Artifact) ([]string, error) {
	if err := a.check(); err != nil {
		return nil, err
	}
	if a.Image != nil {
		image, err := r.lookup(ctx, a.Image.Ref)
		return image.Layers, err
	}
	stack, err := r.stack(a.Slug.Stack)
	if err != nil {
		return nil, err
	}
	image, err := r.lookup(ctx, stack)
	if err != nil {
		return nil, fmt.Errorf("find stack %s: %w", a.Slug.Stack, err)
	}
	slug, err := r.slugs.Path(a.Slug.SHA256)
	if err != nil {
		return nil, err
	}
	return append([]string{slug}, image.Layers...), nil
}
