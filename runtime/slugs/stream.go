package slugs

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/containerd/errdefs"

	"github.com/dynod/dynod/runtime/transfer"
)

const (
	tries        = 6 // in a row that bring no byte
	longestPause = 4 * time.Second
)

// stream is the file at a URL. Where a connection breaks, it goes on with another one from the byte reached; whoever
// reads it does not notice. That its parts belong together is for the digest to say.
type stream struct {
	ctx      context.Context
	store    *Store
	url      *url.URL
	progress *transfer.Progress

	body      io.ReadCloser // nil between two connections
	at        int64         // bytes read so far
	begun     bool
	validator string // of the file's version, for If-Range; may be empty
	failed    int    // tries in a row without a byte
	err       error  // why it was given up
}

// dial opens the first connection.
func (s *Store) dial(ctx context.Context, u *url.URL, progress *transfer.Progress) (io.ReadCloser, error) {
	st := &stream{ctx: ctx, store: s, url: u, progress: progress}
	return st, st.connect()
}

// Read gives up for good: whoever asks again is told the same.
func (st *stream) Read(p []byte) (int, error) {
	for st.err == nil {
		if st.body == nil {
			st.err = st.connect()
			continue
		}
		n, err := st.body.Read(p)
		if st.at += int64(n); n > 0 {
			st.failed = 0
			return n, nil // an error comes again, or is what the next connection is for
		}
		if err == nil || errors.Is(err, io.EOF) {
			return 0, err
		}
		_ = st.Close()
		st.err = st.pause(err)
	}
	return 0, st.err
}

// Close ends the connection.
func (st *stream) Close() error {
	if st.body == nil {
		return nil
	}
	err := st.body.Close()
	st.body = nil
	return err
}

// connect tries until there is a connection at the byte reached, or trying is of no use.
func (st *stream) connect() error {
	for {
		err := st.request()
		if err == nil || hopeless(err) {
			return err
		}
		if err := st.pause(err); err != nil {
			return err
		}
	}
}

// pause waits before the next try. An error: there is none.
func (st *stream) pause(why error) error {
	if st.failed++; st.failed >= tries {
		return fmt.Errorf("gave up after %d tries: %w: %w", tries, errdefs.ErrUnavailable, withoutURL(why))
	}
	select {
	case <-time.After(min(st.store.config.Pause<<(st.failed-1), longestPause)):
		return nil
	case <-st.ctx.Done():
		return fmt.Errorf("get slug from %s: %w", st.url.Host, st.ctx.Err())
	}
}

// errReplaced: what is unpacked already belongs to another file. The slug has to be fetched from its beginning.
var errReplaced = fmt.Errorf("the file was replaced while it was fetched: %w", errdefs.ErrUnavailable)

// hopeless is what a server says for good, or what we refuse ourselves.
func hopeless(err error) bool {
	_, untrusted := errors.AsType[*tls.CertificateVerificationError](err)
	return untrusted || errors.Is(err, errReplaced) || errdefs.IsNotFound(err) || errdefs.IsPermissionDenied(err) ||
		errdefs.IsInvalidArgument(err) || errdefs.IsOutOfRange(err) || errdefs.IsUnknown(err)
}

func (st *stream) request() error {
	request, err := http.NewRequestWithContext(st.ctx, http.MethodGet, st.url.String(), nil)
	if err != nil {
		return fmt.Errorf("make request: %w", errdefs.ErrInvalidArgument)
	}
	if st.at > 0 {
		request.Header.Set("Range", "bytes="+strconv.FormatInt(st.at, 10)+"-")
		if st.validator != "" {
			request.Header.Set("If-Range", st.validator)
		}
	}
	response, err := st.store.client.Do(request)
	if err != nil {
		return fmt.Errorf("get slug from %s: %w", st.url.Host, withoutURL(err))
	}
	if err := st.accept(response); err != nil {
		_ = response.Body.Close()
		return fmt.Errorf("get slug from %s: %w", st.url.Host, withoutURL(err))
	}
	st.body = response.Body
	return nil
}

// accept leaves the body of an answer at the byte reached.
func (st *stream) accept(response *http.Response) error {
	switch {
	case response.StatusCode == http.StatusPartialContent && st.at > 0:
		if !strings.HasPrefix(response.Header.Get("Content-Range"), fmt.Sprintf("bytes %d-", st.at)) {
			return fmt.Errorf("continue: %w: not the part that was asked for", errdefs.ErrUnavailable)
		}
		return nil
	case response.StatusCode != http.StatusOK:
		return fmt.Errorf("%w: %s", class(response.StatusCode), response.Status)
	case st.at == 0:
		return st.begin(response)
	case st.validator != validator(response.Header):
		return errReplaced
	}
	// The server gives no parts. What is known already is read over.
	if _, err := io.CopyN(io.Discard, response.Body, st.at); err != nil {
		return fmt.Errorf("continue: %w", err)
	}
	return nil
}

func (st *stream) begin(response *http.Response) error {
	if response.ContentLength > st.store.config.MaxBytes {
		return fmt.Errorf("read slug: %w: %d bytes are more than allowed", errdefs.ErrOutOfRange, response.ContentLength)
	}
	if !st.begun {
		st.progress.Expect(max(response.ContentLength, 0))
	}
	st.begun, st.validator = true, validator(response.Header)
	return nil
}

// validator says which version of a file this is: a strong entity tag, or when it was changed.
func validator(h http.Header) string {
	if tag := h.Get("ETag"); strings.HasPrefix(tag, `"`) {
		return tag
	}
	return h.Get("Last-Modified")
}
