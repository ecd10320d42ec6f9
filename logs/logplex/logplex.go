// Package logplex posts batches of log lines to a Logplex receiver: frames of RFC 5424, octet counted and gzipped, one
// request a batch.
//
// The package makes one attempt at a time: what to do after one is its caller's, who is told whether the same batch may
// be sent again. URL and token of a receiver stand in no error.
package logplex

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"time"

	"github.com/containerd/errdefs"

	"github.com/dynod/dynod/logs/syslog"
)

const (
	answerTimeout = 20 * time.Second // from the end of a request until its answer begins
	idleTimeout   = time.Minute      // of a connection between two batches
	maxAnswer     = 64 << 10         // of an answer's body that is read so that its connection can be used again
)

// NewClient is a client for any number of receivers. It follows no redirect, and no proxy of the environment: what the
// dialer refuses could be reached through one.
func NewClient(d syslog.Dialer) *http.Client {
	return &http.Client{
		Transport: &http.Transport{
			DialContext:            d.TCP().DialContext,
			TLSClientConfig:        d.TLS(""),
			TLSHandshakeTimeout:    answerTimeout,
			ResponseHeaderTimeout:  answerTimeout,
			IdleConnTimeout:        idleTimeout,
			MaxIdleConnsPerHost:    4,
			MaxResponseHeaderBytes: 64 << 10,
			ForceAttemptHTTP2:      true,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// Batch is one request's worth of frames.
type Batch struct {
	ID       string // the same whenever the same batch is sent
	Messages int    // frames in Frames
	Frames   []byte // see syslog.AppendFrames
}

// Refusal is an answer other than 2xx. It is of the class errdefs.ErrInvalidArgument if the same batch will never be
// taken (4xx, except those that ask to try again: 408, 425, 429), and errdefs.ErrUnavailable otherwise.
type Refusal struct {
	Status     int
	RetryAfter time.Duration // what the receiver asks for; 0: nothing
}

func (r *Refusal) Error() string { return "log receiver answers " + strconv.Itoa(r.Status) }

// Unwrap gives the error's class.
func (r *Refusal) Unwrap() error {
	switch {
	case r.Status == http.StatusRequestTimeout, r.Status == http.StatusTooEarly, r.Status == http.StatusTooManyRequests:
	case r.Status/100 == 4:
		return errdefs.ErrInvalidArgument
	}
	return errdefs.ErrUnavailable
}

// Sender posts to one receiver.
type Sender struct {
	client   *http.Client
	url      *url.URL // without user and password
	token    string
	user     string // for basic authentication
	password string
}

// NewSender takes an https URL and the receiver's token, which goes with every request by basic authentication. A
// user and password in the URL win over it there.
func NewSender(client *http.Client, u *url.URL, token string) *Sender {
	plain := *u
	plain.User = nil
	s := &Sender{client: client, url: &plain, token: token, user: "token", password: token}
	if password, ok := u.User.Password(); ok {
		s.user, s.password = u.User.Username(), password
	}
	return s
}

// Send posts a batch once; nil: it is delivered. An answer that says otherwise is a *Refusal; any other error says
// nothing of what was received.
func (s *Sender) Send(ctx context.Context, b Batch) error {
	body, err := compress(b.Frames)
	if err != nil {
		return fmt.Errorf("compress log lines: %w", err)
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, s.url.String(), body)
	if err != nil {
		return fmt.Errorf("make request: %w", errdefs.ErrInvalidArgument)
	}
	s.describe(request.Header, b)
	if s.password != "" {
		request.SetBasicAuth(s.user, s.password)
	}
	response, err := s.client.Do(request)
	if err != nil {
		return fmt.Errorf("post log lines to %s: %w", s.url.Host, withoutURL(err))
	}
	defer response.Body.Close()
	_, _ = io.CopyN(io.Discard, response.Body, maxAnswer)
	if response.StatusCode/100 == 2 {
		return nil
	}
	return &Refusal{Status: response.StatusCode, RetryAfter: retryAfter(response.Header.Get("Retry-After"), time.Now())}
}

func (s *Sender) describe(h http.Header, b Batch) {
	h.Set("Content-Type", "application/logplex-1")
	h.Set("Content-Encoding", "gzip")
	h.Set("Logplex-Msg-Count", strconv.Itoa(b.Messages))
	h.Set("Logplex-Frame-Id", b.ID)
	if s.token != "" {
		h.Set("Logplex-Drain-Token", s.token)
	}
	h.Set("User-Agent", "dynod")
}

// zippers are lent to requests: each is most of a MiB.
var zippers = sync.Pool{New: func() any {
	z, _ := gzip.NewWriterLevel(nil, gzip.BestSpeed) // fails only for a level that there is not
	return z
}}

func compress(frames []byte) (*bytes.Buffer, error) {
	z := zippers.Get().(*gzip.Writer)
	defer zippers.Put(z)
	var body bytes.Buffer
	z.Reset(&body)
	_, err := z.Write(frames)
	return &body, errors.Join(err, z.Close())
}

// retryAfter reads that header: seconds or a date.
func retryAfter(value string, now time.Time) time.Duration {
	if n, err := strconv.ParseUint(value, 10, 31); err == nil {
		return time.Duration(n) * time.Second
	}
	if at, err := http.ParseTime(value); err == nil {
		return max(0, at.Sub(now))
	}
	return 0
}

// withoutURL leaves the URL out of a client's error.
func withoutURL(err error) error {
	if e, ok := errors.AsType[*url.Error](err); ok {
		return e.Err
	}
	return err
}
