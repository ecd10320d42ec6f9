package contender

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"github.com/dynod/dynod/agent/rpc/transport"
	dynodv1 "github.com/dynod/dynod/proto/dynod/v1"
)

// plane is a control plane that notes when it was told what.
type plane struct {
	dynodv1.UnimplementedUpstreamServiceServer
	server *grpc.Server

	mu    sync.Mutex
	dynos map[string]*told
}

// told is what it knows of one dyno.
type told struct {
	phases map[dynodv1.Phase]Clock
	lines  []Line        // of standard output
	more   chan struct{} // closed when there is news
}

func servePlane(l net.Listener, files transport.TLSFiles) (*plane, error) {
	config, err := transport.ServerTLS(files, []string{"agent"})
	if err != nil {
		return nil, err
	}
	p := &plane{dynos: map[string]*told{}, server: grpc.NewServer(append(transport.ServeOptions(), grpc.Creds(credentials.NewTLS(config)))...)}
	dynodv1.RegisterUpstreamServiceServer(p.server, p)
	go func() { _ = p.server.Serve(l) }() // ends with Stop only
	return p, nil
}

// of is what is known of a dyno. The caller holds the lock.
func (p *plane) of(id string) *told {
	if p.dynos[id] == nil {
		p.dynos[id] = &told{phases: map[dynodv1.Phase]Clock{}, more: make(chan struct{})}
	}
	return p.dynos[id]
}

// note changes what is known of a dyno.
func (p *plane) note(id string, change func(*told)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	t := p.of(id)
	change(t)
	close(t.more)
	t.more = make(chan struct{})
}

// await waits until something is known of a dyno.
func (p *plane) await(ctx context.Context, id, what string, known func(*told) bool) error {
	for {
		p.mu.Lock()
		t := p.of(id)
		ok, more := known(t), t.more
		p.mu.Unlock()
		if ok {
			return nil
		}
		select {
		case <-more:
		case <-ctx.Done():
			return fmt.Errorf("wait for %s of dyno %s: %w", what, id, ctx.Err())
		}
	}
}

// phase is when a dyno was first reported in a phase.
func (p *plane) phase(ctx context.Context, id string, phase dynodv1.Phase) (at Clock, err error) {
	err = p.await(ctx, id, phase.String(), func(t *told) (ok bool) {
		at, ok = t.phases[phase]
		return ok
	})
	return at, err
}

// line is the n-th line, from 0, of a dyno.
func (p *plane) line(ctx context.Context, id string, n int) (l Line, err error) {
	err = p.await(ctx, id, "a line", func(t *told) bool {
		if n >= len(t.lines) {
			return false
		}
		l = t.lines[n]
		return true
	})
	return l, err
}

// Report acknowledges every report.
func (p *plane) Report(stream grpc.BidiStreamingServer[dynodv1.ReportRequest, dynodv1.ReportResponse]) error {
	return serve(stream, func(in *dynodv1.ReportRequest, at Clock) *dynodv1.ReportResponse {
		for _, d := range in.GetDynos() {
			p.note(d.GetId(), func(t *told) {
				if _, known := t.phases[d.GetPhase()]; !known {
					t.phases[d.GetPhase()] = at
				}
			})
		}
		return &dynodv1.ReportResponse{Acknowledged: in.GetSequence()}
	})
}

// ShipLogs takes every batch.
func (p *plane) ShipLogs(stream grpc.BidiStreamingServer[dynodv1.ShipLogsRequest, dynodv1.ShipLogsResponse]) error {
	return serve(stream, func(in *dynodv1.ShipLogsRequest, at Clock) *dynodv1.ShipLogsResponse {
		out := &dynodv1.ShipLogsResponse{Batch: in.GetBatch()}
		for _, r := range in.GetRuns() {
			p.note(r.GetDynoId(), func(t *told) { t.take(r, at) })
			end := r.GetOffset() + int64(len(r.GetText()))
			out.Delivered = append(out.Delivered, &dynodv1.LogCursor{DynoId: r.GetDynoId(), Stream: r.GetStream(), Offset: end})
		}
		return out
	})
}

func (t *told) take(r *dynodv1.LogRun, at Clock) {
	if r.GetStream() != dynodv1.LogStream_LOG_STREAM_STDOUT {
		return
	}
	for l := range r.Lines() {
		t.lines = append(t.lines, Line{Text: string(l.GetText()), At: at})
	}
}

// serve answers each message of a stream.
func serve[In, Out any](stream grpc.BidiStreamingServer[In, Out], answer func(*In, Clock) *Out) error {
	for {
		in, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err == nil {
			err = stream.Send(answer(in, Now()))
		}
		if err != nil {
			return err
		}
	}
}
