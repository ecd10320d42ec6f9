package cloud

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/feature/ec2/imds"
)

const (
	endpoint = "http://169.254.169.254"
	// askLimit is how long the service may take for an answer, with a new token if need be. It takes milliseconds.
	askLimit = time.Second
	// maxAnswer is the most bytes of an answer. The longest real one is a list of events.
	maxAnswer = 64 << 10
)

// metadata asks the instance metadata service, over one connection that is kept.
type metadata struct {
	http   *http.Client
	client *imds.Client
}

// Dialer opens a connection.
type Dialer func(ctx context.Context, network, address string) (net.Conn, error)

func newMetadata(dial Dialer) metadata {
	h := &http.Client{
		Transport: bounded{&http.Transport{ // no proxy: the service is on this machine
			DialContext: limited(dial), MaxConnsPerHost: 1, IdleConnTimeout: 2 * maxPause, DisableCompression: true,
		}},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return metadata{h, imds.New(imds.Options{
		Endpoint: endpoint, ClientEnableState: imds.ClientEnabled, // whatever the environment says
		EnableFallback: aws.FalseTernary, // never version 1
		HTTPClient:     h, Retryer: retry.NewStandard(renewToken), DisableDefaultMaxBackoff: true,
	})}
}

// limited ends what dials too long: a dial outlives the request that wanted it, and the next ones wait for it.
func limited(dial Dialer) Dialer {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		ctx, cancel := context.WithTimeout(ctx, askLimit)
		defer cancel()
		return dial(ctx, network, address)
	}
}

// renewToken asks a second time with a new token when the old one is refused. All else is up to the next look.
func renewToken(o *retry.StandardOptions) {
	o.MaxAttempts, o.Retryables = 2, []retry.IsErrorRetryable{retry.RetryableError{}}
	o.Backoff = retry.BackoffDelayerFunc(func(int, error) (time.Duration, error) { return 0, nil })
}

// read is the text at a path below meta-data; there: false where the service has none.
func (m metadata) read(ctx context.Context, path string) (text []byte, there bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, askLimit)
	defer cancel()
	answer, err := m.client.GetMetadata(ctx, &imds.GetMetadataInput{Path: path})
	var status interface{ HTTPStatusCode() int }
	if errors.As(err, &status) && status.HTTPStatusCode() == http.StatusNotFound {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, fmt.Errorf("read %s: %w", path, err)
	}
	defer answer.Content.Close()
	text, err = io.ReadAll(answer.Content)
	return text, err == nil, err
}

// identity is the document that says which instance this is.
func (m metadata) identity(ctx context.Context) (imds.InstanceIdentityDocument, error) {
	ctx, cancel := context.WithTimeout(ctx, askLimit)
	defer cancel()
	answer, err := m.client.GetInstanceIdentityDocument(ctx, nil)
	if err != nil {
		return imds.InstanceIdentityDocument{}, fmt.Errorf("read identity document: %w", err)
	}
	return answer.InstanceIdentityDocument, nil
}

// bounded ends answers that are too long, which the client would read whole.
type bounded struct{ *http.Transport }

func (b bounded) RoundTrip(r *http.Request) (*http.Response, error) {
	answer, err := b.Transport.RoundTrip(r)
	if err == nil {
		answer.Body = http.MaxBytesReader(nil, answer.Body, maxAnswer)
	}
	return answer, err
}
