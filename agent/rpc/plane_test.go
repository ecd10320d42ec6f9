package rpc_test

import (
	"context"
	"errors"
	"net"
	"path/filepath"
	"sync"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/stats"

	"github.com/dynod/dynod/agent/rpc/transport"
	dynodv1 "github.com/dynod/dynod/proto/dynod/v1"
)

// plane is a control plane played by the test: every stream is handed over and answered by hand.
type plane struct {
	dynodv1.UnimplementedUpstreamServiceServer
	reports chan *session[dynodv1.ReportRequest, dynodv1.ReportResponse]
	batches chan *session[dynodv1.ShipLogsRequest, dynodv1.ShipLogsResponse]
	conn    *grpc.ClientConn // of the agent
	deaf    bool             // to logs: their streams are not even read
	spoken  encodings
}

// encodings are those of the calls that came, in order.
type encodings struct {
	mu   sync.Mutex
	seen []string
}

func (e *encodings) HandleRPC(_ context.Context, s stats.RPCStats) {
	if in, ok := s.(*stats.InHeader); ok {
		e.mu.Lock()
		defer e.mu.Unlock()
		e.seen = append(e.seen, in.Compression)
	}
}

func (e *encodings) last() string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.seen[len(e.seen)-1]
}

func (*encodings) TagRPC(ctx context.Context, _ *stats.RPCTagInfo) context.Context   { return ctx }
func (*encodings) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context { return ctx }
func (*encodings) HandleConn(context.Context, stats.ConnStats)                       {}

// session is one stream from an agent.
type session[In, Out any] struct {
	t      *testing.T
	stream grpc.BidiStreamingServer[In, Out]
	in     chan *In // closed when the agent has left
	cut    chan error
}

func (p *plane) Report(stream grpc.BidiStreamingServer[dynodv1.ReportRequest, dynodv1.ReportResponse]) error {
	return attend(stream, p.reports)
}

func (p *plane) ShipLogs(stream grpc.BidiStreamingServer[dynodv1.ShipLogsRequest, dynodv1.ShipLogsResponse]) error {
	if p.deaf {
		<-stream.Context().Done()
		return nil
	}
	return attend(stream, p.batches)
}

// attend hands a stream to the test and keeps it open until the test cuts it or the agent leaves.
func attend[In, Out any](stream grpc.BidiStreamingServer[In, Out], to chan<- *session[In, Out]) error {
	s := &session[In, Out]{stream: stream, in: make(chan *In, 1000), cut: make(chan error, 1)}
	go func() {
		defer close(s.in)
		for {
			m, err := stream.Recv()
			if err != nil {
				return
			}
			s.in <- m
		}
	}()
	select {
	case to <- s:
	case <-stream.Context().Done():
	}
	select {
	case err := <-s.cut:
		return err
	case <-stream.Context().Done():
		return nil
	}
}

// newPlane serves one on a unix socket until the test ends.
func newPlane(t *testing.T) *plane {
	t.Helper()
	p := &plane{
		reports: make(chan *session[dynodv1.ReportRequest, dynodv1.ReportResponse]),
		batches: make(chan *session[dynodv1.ShipLogsRequest, dynodv1.ShipLogsResponse]),
	}
	socket := filepath.Join(memoryDir(t), "s")
	lis, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer(append(transport.ServeOptions(), grpc.Creds(transport.PeerCredentials()), grpc.WaitForHandlers(true), grpc.StatsHandler(&p.spoken))...)
	dynodv1.RegisterUpstreamServiceServer(server, p)
	served := make(chan error, 1)
	go func() { served <- server.Serve(lis) }()
	t.Cleanup(func() {
		server.Stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	p.conn = dial(t, socket)
	return p
}

// accept is the next stream that an agent opens.
func accept[In, Out any](t *testing.T, from <-chan *session[In, Out]) *session[In, Out] {
	t.Helper()
	s := next(t, "streams", from)
	s.t = t
	return s
}

func (s *session[In, Out]) receive() *In {
	s.t.Helper()
	return next(s.t, "messages", s.in)
}

func (s *session[In, Out]) send(m *Out) {
	s.t.Helper()
	if err := s.stream.Send(m); err != nil {
		s.t.Fatal(err)
	}
}

// end cuts the stream, after all that was sent.
func (s *session[In, Out]) end() { s.refuse(errors.New("cut by the test")) }

func (s *session[In, Out]) refuse(err error) { s.cut <- err }
