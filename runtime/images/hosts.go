package images

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/containerd/containerd/v2/core/remotes/docker"
	"github.com/containerd/containerd/v2/core/remotes/docker/config"
	"github.com/containerd/errdefs"
	"github.com/distribution/reference"

	"github.com/dynod/dynod/runtime/transfer"
)

// hosts are the servers of one pull: the registry, and the mirrors that a hosts.toml names. The order's credentials are
// the registry's and nobody else's.
type hosts struct {
	config   Config
	ref      Ref
	progress *transfer.Progress

	mu         sync.Mutex
	transports []*http.Transport
}

func (s *Store) newHosts(ref Ref, progress *transfer.Progress) *hosts {
	return &hosts{config: s.config, ref: ref, progress: progress}
}

// find is a docker.RegistryHosts.
func (h *hosts) find(host string) ([]docker.RegistryHost, error) {
	if h.config.HostsDir != "" {
		dir, err := config.HostDirFromRoot(h.config.HostsDir)(host)
		if err == nil {
			return h.mirrored(host, dir)
		}
		if !errdefs.IsNotFound(err) {
			return nil, fmt.Errorf("look for hosts.toml of %s: %w", host, err)
		}
	}
	client := &http.Client{Transport: docker.DefaultHTTPTransport(nil)}
	h.watch(client)
	return docker.ConfigureDefaultRegistries(
		docker.WithClient(client),
		docker.WithPlainHTTP(func(host string) (bool, error) { return h.plain(host), nil }),
		docker.WithAuthorizer(docker.NewDockerAuthorizer(docker.WithAuthClient(client), docker.WithAuthCreds(h.credentials))),
	)(host)
}

// mirrored reads the hosts.toml anew for every pull: a change needs no restart.
func (h *hosts) mirrored(host, dir string) ([]docker.RegistryHost, error) {
	options := config.HostOptions{
		HostDir:      func(string) (string, error) { return dir, nil },
		Credentials:  h.credentials,
		UpdateClient: func(client *http.Client) error { h.watch(client); return nil },
	}
	if h.plain(host) {
		options.DefaultScheme = "http"
	}
	found, err := config.ConfigureHosts(context.Background(), options)(host)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w: %w", filepath.Join(dir, "hosts.toml"), errdefs.ErrFailedPrecondition, err)
	}
	return found, nil
}

func (h *hosts) plain(host string) bool { return slices.Contains(h.config.PlainHTTP, host) }

// credentials are asked for by the host that wants some.
func (h *hosts) credentials(host string) (username, password string, err error) {
	named, err := reference.ParseDockerRef(h.ref.Name)
	if err != nil {
		return "", "", err
	}
	if home, err := docker.DefaultHost(reference.Domain(named)); err != nil || home != host {
		return "", "", err
	}
	return h.ref.Username, h.ref.Password, nil
}

// watch guards a client against servers that stop, never end or lead where no image is, and counts what it brings.
func (h *hosts) watch(client *http.Client) {
	t, ok := client.Transport.(*http.Transport)
	if !ok {
		return // a copy of a client that is watched
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.transports = append(h.transports, t)
	t.DialContext = transfer.Dialer().DialContext
	client.Transport = bodies{transfer.Guard{Next: t, Limit: h.config.Stall}, h.progress}
}

func (h *hosts) close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, t := range h.transports {
		t.CloseIdleConnections()
	}
}

// bodies counts the bytes of blobs, which are all but the whole of an image, and bounds all other answers.
type bodies struct {
	next     http.RoundTripper
	progress *transfer.Progress
}

func (b bodies) RoundTrip(r *http.Request) (*http.Response, error) {
	response, err := b.next.RoundTrip(r)
	switch {
	case err != nil:
	case response.StatusCode < 300 && isContent(r):
		response.Body = counted{response.Body, b.progress}
	default:
		response.Body = &bounded{response.Body, r.URL.Host, maxConfig}
	}
	return response, err
}

// isContent says whether a request is for a blob. Its path alone does not: a registry says where its tokens are. But only
// for parts of an image, which it reads no further than they are said to go, containerd asks by encodings.
func isContent(r *http.Request) bool {
	// A redirect leads away from the registry's paths, to where only blobs are.
	return r.Method == http.MethodGet && r.Header.Get("Accept-Encoding") != "" && (strings.Contains(r.URL.Path, "/blobs/") || r.Response != nil)
}

type counted struct {
	io.ReadCloser
	progress *transfer.Progress
}

func (c counted) Read(p []byte) (int, error) {
	n, err := c.ReadCloser.Read(p)
	c.progress.Fetched(int64(n))
	return n, err
}

// bounded is a body that is read into memory.
type bounded struct {
	io.ReadCloser
	host string
	left int64
}

func (b *bounded) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p[:min(int64(len(p)), b.left+1)])
	if b.left -= int64(n); b.left < 0 {
		return 0, fmt.Errorf("read answer of %s: %w: more than %d bytes", b.host, errdefs.ErrInvalidArgument, maxConfig)
	}
	return n, err
}
