package rpc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/cenkalti/backoff/v5"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/dynod/dynod/agent"
	dynodv1 "github.com/dynod/dynod/proto/dynod/v1"
)

// Reporter tells the control plane what this host and its dynos are doing, over one Report stream at a time.
type Reporter struct {
	Agent     *agent.Agent
	Upstream  grpc.ClientConnInterface
	Heartbeat time.Duration
	Log       *slog.Logger
}

// Run reports until ctx ends: a full snapshot on every connection, then changes as they come (of a start a moment later) and
// heartbeats. A broken stream is begun again after a growing, jittered wait.
func (r *Reporter) Run(ctx context.Context) error {
	select {
	case <-r.Agent.Ready(): // before that a snapshot would be a lie
	case <-ctx.Done():
		return nil
	}
	retry := backoff.NewExponentialBackOff()
	retry.MaxInterval = 30 * time.Second
	for ctx.Err() == nil {
		worked, err := r.connection(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if worked {
			retry.Reset()
		}
		wait := retry.NextBackOff()
		r.Log.Warn("reports are interrupted", "err", err, "again_in", wait)
		select {
		case <-time.After(wait):
		case <-ctx.Done():
		}
	}
	return nil
}

// gather is how long a report waits that says no more than how far starts are: they take the host's time now, and it soon can
// say that they are up.
const gather = 20 * time.Millisecond

// silentBeats is for how many heartbeats a control plane may leave reports unanswered, or not even take them, before
// it is connected to anew.
const silentBeats = 3

var errSilent = errors.New("the control plane does not answer")

// connection leads one stream until it breaks. worked: the control plane acknowledged something.
func (r *Reporter) connection(ctx context.Context) (worked bool, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	silence := silentBeats * r.Heartbeat
	giveUp := time.AfterFunc(silence, func() { cancel(errSilent) })
	defer giveUp.Stop()
	stream, err := dynodv1.NewUpstreamServiceClient(r.Upstream).Report(ctx)
	if err != nil {
		return false, fmt.Errorf("open report stream: %w", err)
	}
	defer r.Agent.Connected(false)
	acks, broken := receiveAcks(ctx, stream)
	watch, all := r.Agent.Watch()
	defer watch.Close()
	s := session{r: r, stream: stream, ends: map[uint64][]agent.Status{}}
	var later <-chan time.Time
	if err := s.send(true, all, nil); err != nil {
		return false, err
	}
	beat := time.NewTicker(r.Heartbeat)
	defer beat.Stop()
	for {
		select {
		case <-watch.Wake():
			if !watch.Starting() {
				later, err = nil, s.changes(watch)
			} else if later == nil {
				later = time.After(gather)
			}
		case <-later:
			later, err = nil, s.changes(watch)
		case <-beat.C:
			err = s.send(false, nil, nil)
		case seq := <-acks:
			worked = true
			r.Agent.Connected(true)
			giveUp.Reset(silence)
			err = s.acknowledged(ctx, seq)
		case err = <-broken:
		}
		if silent := context.Cause(ctx); silent != nil {
			err = silent
		}
		if err != nil {
			return worked, err
		}
	}
}

func receiveAcks(ctx context.Context, stream grpc.BidiStreamingClient[dynodv1.ReportRequest, dynodv1.ReportResponse]) (<-chan uint64, <-chan error) {
	acks, broken := make(chan uint64), make(chan error, 1)
	go func() {
		for {
			in, err := stream.Recv()
			if err != nil {
				broken <- fmt.Errorf("receive acknowledgement: %w", err)
				return
			}
			select {
			case acks <- in.GetAcknowledged():
			case <-ctx.Done():
				return
			}
		}
	}()
	return acks, broken
}

// session is one Report stream.
type session struct {
	r      *Reporter
	stream grpc.BidiStreamingClient[dynodv1.ReportRequest, dynodv1.ReportResponse]
	seq    uint64
	acked  uint64
	ends   map[uint64][]agent.Status // ends of dynos told in a report not yet acknowledged
}

func (s *session) changes(watch *agent.Watch) error {
	changed, forgotten := watch.Changes()
	return s.send(false, changed, forgotten)
}

func (s *session) send(snapshot bool, dynos []agent.Status, forgotten []string) error {
	s.seq++
	for _, d := range dynos {
		if d.Ended() && !d.Reported {
			s.ends[s.seq] = append(s.ends[s.seq], d)
		}
	}
	err := s.stream.Send(&dynodv1.ReportRequest{
		Sequence: s.seq, Time: timestamppb.Now(), Host: toHost(s.r.Agent.Host()),
		Snapshot: snapshot, Dynos: toDynos(dynos), Forgotten: forgotten,
	})
	if errors.Is(err, io.EOF) {
		return nil // why it broke comes from Recv
	}
	return err
}

// acknowledged notes that every report up to seq is kept. An acknowledgement of what was never sent means nothing.
func (s *session) acknowledged(ctx context.Context, seq uint64) error {
	if seq > s.seq {
		return nil
	}
	for s.acked < seq {
		s.acked++
		for _, d := range s.ends[s.acked] {
			if err := s.r.Agent.Acknowledge(ctx, d.ID, d.Generation, d.Revision); err != nil {
				return fmt.Errorf("keep acknowledgement: %w", err)
			}
		}
		delete(s.ends, s.acked)
	}
	return nil
}
