package slugs

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/http"
	"net/url"
	"os"
	"time"

	"github.com/containerd/errdefs"

	"github.com/dynod/dynod/runtime/transfer"
)

const (
	idleTimeout  = 30 * time.Second
	maxRedirects = 5
)

// newClient is a client that goes only to the schemes allowed and never to a link-local address, where clouds
// serve credentials, whatever a name resolves to.
func newClient(config Config) *http.Client {
	return &http.Client{
		Transport: transfer.Guard{Limit: config.Stall, Next: &http.Transport{
			Proxy:                  http.ProxyFromEnvironment,
			DialContext:            transfer.Dialer().DialContext,
			IdleConnTimeout:        idleTimeout,
			MaxResponseHeaderBytes: 64 << 10,
			ForceAttemptHTTP2:      true,
			DisableCompression:     true, // the digest is over the file as it is
		}},
		CheckRedirect: func(r *http.Request, via []*http.Request) error {
			if len(via) >= maxRedirects {
				return fmt.Errorf("follow redirect: more than %d", maxRedirects)
			}
			return config.checkHTTP(r.URL)
		},
	}
}

func (c Config) checkHTTP(u *url.URL) error {
	if u.Scheme == "https" || u.Scheme == "http" && c.AllowHTTP {
		return nil
	}
	return fmt.Errorf("check slug URL: %w: scheme %q is not allowed", errdefs.ErrInvalidArgument, u.Scheme)
}

// open begins to read what is at a URL. The URL is a signed one: errors never hold its query.
func (s *Store) open(ctx context.Context, raw string, progress *transfer.Progress) (io.ReadCloser, error) {
	u, err := url.Parse(raw)
	if err != nil {
		return nil, fmt.Errorf("parse slug URL: %w", errdefs.ErrInvalidArgument)
	}
	if u.Scheme == "file" && s.config.AllowFile {
		return os.Open(u.Path)
	}
	if err := s.config.checkHTTP(u); err != nil {
		return nil, err
	}
	return s.dial(ctx, u, progress)
}

// withoutURL leaves the URL out of a client's error.
func withoutURL(err error) error {
	if e, ok := errors.AsType[*url.Error](err); ok {
		return e.Err
	}
	return err
}

func class(status int) error {
	switch {
	case status == http.StatusNotFound || status == http.StatusGone:
		return errdefs.ErrNotFound
	case status == http.StatusUnauthorized || status == http.StatusForbidden:
		return errdefs.ErrPermissionDenied
	case status >= 500 || status == http.StatusTooManyRequests:
		return errdefs.ErrUnavailable
	}
	return errdefs.ErrUnknown
}

// hashed is a file with its length bounded and its digest taken, whoever reads it and however far.
type hashed struct {
	r        io.Reader
	hash     hash.Hash
	left     int64
	progress *transfer.Progress
}

func newHashed(r io.Reader, limit int64, progress *transfer.Progress) *hashed {
	return &hashed{r: r, hash: sha256.New(), left: limit, progress: progress}
}

func (h *hashed) Read(p []byte) (int, error) {
	n, err := h.r.Read(p)
	if h.left -= int64(n); h.left < 0 {
		return 0, fmt.Errorf("read slug: %w: larger than allowed", errdefs.ErrOutOfRange)
	}
	h.hash.Write(p[:n])
	h.progress.Fetched(int64(n))
	return n, withoutURL(err)
}

// drain reads to the end what nobody has read, for the digest.
func (h *hashed) drain() error {
	_, err := io.Copy(io.Discard, h)
	return err
}

func (h *hashed) sum() string { return hex.EncodeToString(h.hash.Sum(nil)) }
