package transfer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/containerd/errdefs"
)

// Guard is a transport that gives up on servers which stop in the middle: an answer that does not begin within Limit,
// or a body of which no byte comes for so long, fails as Unavailable. A reader who takes his time is no stall.
type Guard struct {
	Next  http.RoundTripper
	Limit time.Duration
}

// RoundTrip sends the request, as the next transport does.
func (g Guard) RoundTrip(r *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithCancelCause(r.Context())
	stalled := fmt.Errorf("no data from %s for %s: %w", r.URL.Host, g.Limit, errdefs.ErrUnavailable)
	timer := time.AfterFunc(g.Limit, func() { cancel(stalled) })
	response, err := g.Next.RoundTrip(r.WithContext(ctx))
	timer.Stop()
	if err != nil {
		err = because(ctx, stalled, err)
		cancel(nil)
		return nil, err
	}
	response.Body = &body{ReadCloser: response.Body, ctx: ctx, cancel: cancel, stalled: stalled, timer: timer, limit: g.Limit}
	return response, nil
}

// because is the stall where that is what an error comes from.
func because(ctx context.Context, stalled, err error) error {
	if errors.Is(context.Cause(ctx), stalled) {
		return stalled
	}
	return err
}

// body is read by one goroutine. Its timer runs only while a byte is waited for.
type body struct {
	io.ReadCloser

	ctx     context.Context
	cancel  context.CancelCauseFunc
	stalled error
	timer   *time.Timer
	limit   time.Duration
}

func (b *body) Read(p []byte) (int, error) {
	b.timer.Reset(b.limit)
	n, err := b.ReadCloser.Read(p)
	b.timer.Stop()
	if err != nil && !errors.Is(err, io.EOF) {
		err = because(b.ctx, b.stalled, err)
	}
	return n, err
}

func (b *body) Close() error {
	b.timer.Stop()
	err := b.ReadCloser.Close()
	b.cancel(nil)
	return err
}
