package images

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"time"

	containerd "github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/images/archive"
	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/containerd/v2/core/remotes"
	"github.com/containerd/containerd/v2/core/remotes/docker"
	"github.com/containerd/errdefs"
	"github.com/containerd/platforms"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/semaphore"

	"github.com/dynod/dynod/runtime/transfer"
)

const (
	// answerTimeout bounds what has to be done although the caller has gone.
	answerTimeout = 30 * time.Second
	// leaseTime is longer than any fetch.
	leaseTime = time.Hour
	// maxLayers is how many an overlay may have; some fewer fit into the options of its mount.
	maxLayers = 500
	// maxFetches is how many layers of an image are fetched at once.
	maxFetches = 4
)

// pull brings an image from its registry. The lease keeps what has arrived until the view of its layers is made, or
// until it is over where the registry stopped in the middle: the next pull goes on from there.
func (s *Store) pull(ctx context.Context, name string, ref Ref, progress *transfer.Progress) (err error) {
	ctx, release, err := s.lease(ctx)
	if err != nil {
		return err
	}
	defer func() {
		if !errdefs.IsUnavailable(err) {
			release()
		}
	}()
	hosts := s.newHosts(ref, progress)
	defer hosts.close()
	resolver := docker.NewResolver(docker.ResolverOptions{Hosts: hosts.find})
	fetcher, err := resolver.Fetcher(ctx, name)
	if err != nil {
		return fmt.Errorf("pull image %s: %w", name, err)
	}
	_, err = s.client.Pull(ctx, name,
		containerd.WithResolver(resolver),
		containerd.WithPullUnpack,
		containerd.WithPullSnapshotter(Snapshotter),
		containerd.WithImageHandlerWrapper(s.expect(fetcher, progress)),
		containerd.WithDownloadLimiter(semaphore.NewWeighted(maxFetches)),
	)
	if err != nil {
		return fmt.Errorf("pull image %s: %w", name, unsigned{err})
	}
	return s.complete(ctx, ref.Name)
}

// unsigned is an error of an HTTP client without the queries of its URLs: registries lead to storage by signed ones.
type unsigned struct{ error }

var query = regexp.MustCompile(`(https?://[^\s"?]*)\?[^\s"]*`)

func (u unsigned) Error() string { return query.ReplaceAllString(u.error.Error(), "$1") }
func (u unsigned) Unwrap() error { return u.error }

// expect counts the parts of an image that are not here yet, as they become known, and refuses those that containerd's
// client would read into memory whatever their size.
func (s *Store) expect(fetcher remotes.Fetcher, progress *transfer.Progress) func(images.Handler) images.Handler {
	return func(next images.Handler) images.Handler {
		return images.HandlerFunc(func(ctx context.Context, d ocispec.Descriptor) ([]ocispec.Descriptor, error) {
			if !images.IsLayerType(d.MediaType) { // the root is one of these: nothing that names it was checked
				if err := s.bring(ctx, fetcher, d); err != nil {
					return nil, err
				}
			}
			children, err := next.Handle(ctx, d)
			for i, child := range children {
				children[i].URLs = nil // containerd would get them by a client of its own, which goes anywhere
				if _, missing := s.client.ContentStore().Info(ctx, child.Digest); isBlob(child) && errdefs.IsNotFound(missing) {
					progress.Expect(child.Size)
				}
			}
			if err == nil && images.IsManifestType(d.MediaType) {
				err = s.bearable(ctx, fetcher, d)
			}
			return children, err
		})
	}
}

// bring fetches what containerd's client reads into memory, unless it is too large. Only of what is here the size is
// certain: a blob may come by another pull after it was asked for.
func (s *Store) bring(ctx context.Context, fetcher remotes.Fetcher, d ocispec.Descriptor) error {
	if err := s.small(ctx, d); err != nil {
		return err
	}
	d.URLs = nil
	if err := remotes.Fetch(ctx, s.client.ContentStore(), fetcher, d); err != nil && !errdefs.IsAlreadyExists(err) {
		return err
	}
	return s.small(ctx, d)
}

// bearable refuses a manifest by its own text: its children are without those that it says are for another platform.
func (s *Store) bearable(ctx context.Context, fetcher remotes.Fetcher, d ocispec.Descriptor) error {
	manifest, err := images.Manifest(ctx, s.client.ContentStore(), d, nil)
	if err != nil {
		return err
	}
	if layers := len(manifest.Layers); layers > maxLayers {
		return fmt.Errorf("%w: it has %d layers, more than %d", errdefs.ErrInvalidArgument, layers, maxLayers)
	}
	return s.bring(ctx, fetcher, manifest.Config) // whatever it says it is
}

// isBlob says whether a part is fetched from where the large ones are.
func isBlob(d ocispec.Descriptor) bool {
	return images.IsLayerType(d.MediaType) || images.IsConfigType(d.MediaType)
}

// load brings an image from an archive. What the archive calls it is not asked.
func (s *Store) load(ctx context.Context, name, path string) error {
	ctx, release, err := s.lease(ctx)
	if err != nil {
		return err
	}
	defer release()
	if err := s.ingest(ctx, name, path); err != nil {
		// Nothing of it is to stay. It does no harm if it does: it cannot be looked up.
		return errors.Join(fmt.Errorf("load image from %s: %w", path, err), s.forget(ctx, name))
	}
	return s.complete(ctx, path)
}

func (s *Store) ingest(ctx context.Context, name, path string) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("open archive: %w", err)
	}
	defer f.Close()
	if err := s.take(ctx, name, f); err != nil {
		return incomplete(err)
	}
	image, err := s.client.GetImage(ctx, name)
	if err != nil {
		return fmt.Errorf("find image: %w", err)
	}
	return incomplete(image.Unpack(ctx, Snapshotter))
}

// take stores an archive's content under the name. The names that the archive has for it are nobody's: taken over, they
// could be those of other images.
func (s *Store) take(ctx context.Context, name string, archived io.Reader) error {
	store := s.client.ContentStore()
	index, err := archive.ImportIndex(ctx, store, archived)
	if err != nil {
		return err
	}
	children := images.FilterPlatforms(images.ChildrenHandler(store), platforms.Default())
	if err := images.Walk(ctx, images.SetChildrenLabels(store, children), index); err != nil {
		return err
	}
	_, err = s.client.ImageService().Create(ctx, images.Image{Name: name, Target: index})
	if errdefs.IsAlreadyExists(err) {
		_, err = s.client.ImageService().Update(ctx, images.Image{Name: name, Target: index})
	}
	return err
}

// incomplete changes the class of what is not found in an archive: a part that it names is missing, or is not what its
// digest says.
func incomplete(err error) error {
	if errdefs.IsNotFound(err) {
		return fmt.Errorf("read archive: %w: %s", errdefs.ErrInvalidArgument, err.Error())
	}
	return err
}

func (s *Store) forget(ctx context.Context, name string) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), answerTimeout)
	defer cancel()
	return s.Forget(ctx, name)
}

// lease holds off containerd's garbage collector.
func (s *Store) lease(ctx context.Context) (context.Context, func(), error) {
	leased, done, err := s.client.WithLease(ctx, leases.WithRandomID(), leases.WithExpiration(leaseTime))
	if err != nil {
		return nil, nil, fmt.Errorf("take lease: %w", err)
	}
	release := func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(leased), answerTimeout)
		defer cancel()
		_ = done(ctx) // else it expires by itself
	}
	return leased, release, nil
}
