package images

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"slices"
	"time"

	containerd "github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/remotes"
	"github.com/containerd/containerd/v2/core/remotes/docker"
	"github.com/containerd/errdefs"
)

// answerTimeout is how long a registry may take until it begins to answer.
const answerTimeout = 30 * time.Second

// pull brings an image from its registry. The lease keeps what has arrived until the view of its layers is made.
func (s *Store) pull(ctx context.Context, name string, ref Ref) error {
	ctx, release, err := s.lease(ctx)
	if err != nil {
		return err
	}
	defer release()
	transport := newTransport()
	defer transport.CloseIdleConnections()
	_, err = s.client.Pull(ctx, name,
		containerd.WithResolver(s.resolver(ref, transport)),
		containerd.WithPullUnpack,
		containerd.WithPullSnapshotter(snapshotter),
	)
	if err != nil {
		return fmt.Errorf("pull image %s: %w", name, err)
	}
	_, err = s.Lookup(ctx, ref.Name)
	return err
}

func newTransport() *http.Transport {
	return &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		TLSHandshakeTimeout:   answerTimeout,
		ResponseHeaderTimeout: answerTimeout,
		IdleConnTimeout:       answerTimeout,
		ForceAttemptHTTP2:     true,
	}
}

func (s *Store) resolver(ref Ref, transport http.RoundTripper) remotes.Resolver {
	client := &http.Client{Transport: transport}
	credentials := func(string) (string, string, error) { return ref.Username, ref.Password, nil }
	return docker.NewResolver(docker.ResolverOptions{
		Hosts: docker.ConfigureDefaultRegistries(
			docker.WithClient(client),
			docker.WithPlainHTTP(func(host string) (bool, error) { return slices.Contains(s.plainHTTP, host), nil }),
			docker.WithAuthorizer(docker.NewDockerAuthorizer(
				docker.WithAuthClient(client), docker.WithAuthCreds(credentials))),
		),
	})
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
	_, err = s.Lookup(ctx, path)
	return err
}

func (s *Store) ingest(ctx context.Context, name, path string) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("open archive: %w", err)
	}
	defer f.Close()
	nameless := func(string) string { return "" }
	_, err = s.client.Import(ctx, f, containerd.WithIndexName(name), containerd.WithImageRefTranslator(nameless))
	if err != nil {
		return incomplete(err)
	}
	image, err := s.client.GetImage(ctx, name)
	if err != nil {
		return fmt.Errorf("find image: %w", err)
	}
	return incomplete(image.Unpack(ctx, snapshotter))
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
	if err := s.client.ImageService().Delete(ctx, name); err != nil && !errdefs.IsNotFound(err) {
		return fmt.Errorf("forget image: %w", err)
	}
	return nil
}

// lease holds off containerd's garbage collector.
func (s *Store) lease(ctx context.Context) (context.Context, func(), error) {
	leased, done, err := s.client.WithLease(ctx)
	if err != nil {
		return nil, nil, fmt.Errorf("take lease: %w", err)
	}
	release := func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(leased), answerTimeout)
		defer cancel()
		_ = done(ctx) // else it expires by itself after a day
	}
	return leased, release, nil
}
