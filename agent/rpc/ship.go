package rpc

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/containerd/errdefs"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/dynod/dynod/agent/rpc/transport"
	"github.com/dynod/dynod/logs"
	dynodv1 "github.com/dynod/dynod/proto/dynod/v1"
)

// ackLimit is how long the control plane may take to acknowledge one batch.
const ackLimit = 30 * time.Second

// Shipper is the logs.Pipeline of the upstream service: batches over a ShipLogs stream of its own, answered in the
// order in which they were sent.
type Shipper struct {
	upstream grpc.ClientConnInterface
	host     string

	mu    sync.Mutex
	link  *link // nil: the next batch opens one
	plain bool  // the control plane does not know how to decompress
}

// NewShipper is a sink that opens its stream with the first batch.
func NewShipper(upstream grpc.ClientConnInterface, host string) *Shipper {
	return &Shipper{upstream: upstream, host: host}
}

// Send ships one batch and returns what the control plane says is delivered. After an error the stream is begun anew.
func (s *Shipper) Send(ctx context.Context, b logs.Batch) (logs.Ack, error) {
	return s.Start(ctx, b, false)()
}

// Start ships one batch and returns what waits for its answer; batches before it may be without one yet. After an
// error the stream is begun anew, and every batch on the old one has failed; one that follows them fails too.
func (s *Shipper) Start(ctx context.Context, b logs.Batch, follows bool) func() (logs.Ack, error) {
	l, err := s.open(ctx, follows)
	if err != nil {
		return func() (logs.Ack, error) { return logs.Ack{}, err }
	}
	giveUp := time.AfterFunc(ackLimit, l.end)
	leave := context.AfterFunc(ctx, l.end)
	answer := l.send(s.host, b)
	return func() (logs.Ack, error) {
		a := <-answer
		giveUp.Stop()
		leave()
		return a.ack, a.err
	}
}

func (s *Shipper) open(ctx context.Context, follows bool) (*link, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.link != nil {
		return s.link, nil
	}
	if follows {
		return nil, errors.New("ship logs: the stream of the batches before is lost")
	}
	var options []grpc.CallOption
	if !s.plain {
		options = append(options, grpc.UseCompressor(transport.Zstd))
	}
	// The stream outlives this batch and its context, which ends it only while a batch is under way.
	life, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer context.AfterFunc(ctx, cancel)()
	stream, err := dynodv1.NewUpstreamServiceClient(s.upstream).ShipLogs(life, options...)
	if err != nil {
		cancel()
		return nil, fmt.Errorf("open log stream: %w", err)
	}
	s.link = &link{stream: stream, end: cancel}
	go s.receive(s.link)
	return s.link, nil
}

// receive takes in answers until the stream ends, and then fails what has none.
func (s *Shipper) receive(l *link) {
	err := l.receive()
	l.end()
	s.mu.Lock()
	s.link = nil
	// What gRPC answers to a message in an encoding that the server does not know.
	s.plain = s.plain || status.Code(err) == codes.Unimplemented && strings.Contains(err.Error(), transport.Zstd)
	s.mu.Unlock()
	l.fail(fmt.Errorf("ship logs: %w", classed(err)))
}

// classed adds the class of an answer that says that the batch itself is at fault.
func classed(err error) error {
	switch status.Code(err) {
	case codes.InvalidArgument, codes.OutOfRange:
		return fmt.Errorf("%w: %w", err, errdefs.ErrInvalidArgument)
	}
	return err
}
