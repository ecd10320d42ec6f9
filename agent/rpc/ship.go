package rpc

import (
	"context"
	"fmt"
	"sync"
	"time"

	"google.golang.org/grpc"

	"github.com/dynod/dynod/logs"
	dynodv1 "github.com/dynod/dynod/proto/dynod/v1"
)

// ackLimit is how long the control plane may take to acknowledge one batch.
const ackLimit = 30 * time.Second

// Shipper is the logs.Sink of the upstream service: one batch at a time over a ShipLogs stream of its own.
type Shipper struct {
	upstream grpc.ClientConnInterface
	host     string

	mu     sync.Mutex // one batch at a time
	stream grpc.BidiStreamingClient[dynodv1.ShipLogsRequest, dynodv1.ShipLogsResponse]
	end    context.CancelFunc
	batch  uint64
}

// NewShipper is a sink that opens its stream with the first batch.
func NewShipper(upstream grpc.ClientConnInterface, host string) *Shipper {
	return &Shipper{upstream: upstream, host: host}
}

// Send ships one batch and returns what the control plane says is delivered. After an error the stream is begun anew.
func (s *Shipper) Send(ctx context.Context, b logs.Batch) (logs.Ack, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.open(ctx); err != nil {
		return logs.Ack{}, err
	}
	giveUp := time.AfterFunc(ackLimit, s.end)
	defer giveUp.Stop()
	defer context.AfterFunc(ctx, s.end)()
	ack, err := s.exchange(b)
	if err != nil {
		s.close()
	}
	return ack, err
}

func (s *Shipper) open(ctx context.Context) error {
	if s.stream != nil {
		return nil
	}
	// The stream outlives this batch and its context, which ends it only while a batch is under way.
	life, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer context.AfterFunc(ctx, cancel)()
	stream, err := dynodv1.NewUpstreamServiceClient(s.upstream).ShipLogs(life)
	if err != nil {
		cancel()
		return fmt.Errorf("open log stream: %w", err)
	}
	s.stream, s.end, s.batch = stream, cancel, 0
	return nil
}

func (s *Shipper) close() {
	s.end()
	s.stream = nil
}

func (s *Shipper) exchange(b logs.Batch) (logs.Ack, error) {
	s.batch++
	// An error of Send is only the echo of the one that Recv tells.
	_ = s.stream.Send(&dynodv1.ShipLogsRequest{Batch: s.batch, Host: s.host, Dynos: byDyno(b.Lines)})
	in, err := s.stream.Recv()
	if err != nil {
		return logs.Ack{}, fmt.Errorf("ship logs: %w", err)
	}
	if in.GetBatch() != s.batch {
		return logs.Ack{}, fmt.Errorf("ship logs: batch %d acknowledged, %d sent", in.GetBatch(), s.batch)
	}
	ack := logs.Ack{Offsets: map[logs.Key]int64{}}
	for _, c := range in.GetDelivered() {
		ack.Offsets[logs.Key{Dyno: c.GetDynoId(), Stream: logs.Stream(c.GetStream())}] = c.GetOffset()
	}
	return ack, nil
}

// byDyno groups lines as the wire wants them, keeping their order.
func byDyno(lines []logs.Line) []*dynodv1.DynoLines {
	var out []*dynodv1.DynoLines
	index := map[string]*dynodv1.DynoLines{}
	for _, l := range lines {
		d := index[l.Dyno]
		if d == nil {
			d = &dynodv1.DynoLines{DynoId: l.Dyno}
			index[l.Dyno] = d
			out = append(out, d)
		}
		d.Lines = append(d.Lines, toLine(l))
	}
	return out
}
