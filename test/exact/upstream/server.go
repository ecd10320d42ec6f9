package upstream

import (
	"errors"
	"fmt"
	"io"
	"net"
	"sync/atomic"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"

	"github.com/dynod/dynod/agent/rpc/transport"
	dynodv1 "github.com/dynod/dynod/proto/dynod/v1"
)

// maxBatch is what a batch may hold.
const maxBatch = 512 << 10

// Server is an UpstreamService that writes into its Ledger and has its Faults.
type Server struct {
	dynodv1.UnimplementedUpstreamServiceServer
	*Ledger
	Faults

	hear   atomic.Pointer[func(*dynodv1.LogRun)]
	wire   *wire
	server *grpc.Server
}

// Serve serves on a listener with mutual TLS for agents of one of the names, until Close.
func Serve(l net.Listener, files transport.TLSFiles, agents []string) (*Server, error) {
	config, err := transport.ServerTLS(files, agents)
	if err != nil {
		return nil, fmt.Errorf("serve upstream: %w", err)
	}
	s := &Server{Ledger: NewLedger(), wire: newWire(l)}
	s.server = grpc.NewServer(append(transport.ServeOptions(), grpc.Creds(credentials.NewTLS(config)))...)
	dynodv1.RegisterUpstreamServiceServer(s.server, s)
	go func() { _ = s.server.Serve(s.wire) }() // it ends with Close only
	return s, nil
}

// Listen has every run told as it arrives, before anything else is done about it.
func (s *Server) Listen(hear func(*dynodv1.LogRun)) { s.hear.Store(&hear) }

// Down ends all connections and takes none until Up.
func (s *Server) Down() { s.wire.down() }

// Up takes connections again.
func (s *Server) Up() { s.wire.up() }

// Close ends the server.
func (s *Server) Close() { s.server.Stop() }

// Report acknowledges every report.
func (s *Server) Report(stream grpc.BidiStreamingServer[dynodv1.ReportRequest, dynodv1.ReportResponse]) error {
	for {
		in, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err == nil {
			err = stream.Send(&dynodv1.ReportResponse{Acknowledged: in.GetSequence()})
		}
		if err != nil {
			return err
		}
	}
}

// ShipLogs takes batches, each with the fault that is chosen for it.
func (s *Server) ShipLogs(stream grpc.BidiStreamingServer[dynodv1.ShipLogsRequest, dynodv1.ShipLogsResponse]) error {
	for last := uint64(0); ; last++ {
		in, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if hear := s.hear.Load(); hear != nil {
			for _, r := range in.GetRuns() {
				(*hear)(r)
			}
		}
		lines, size := count(in.GetRuns())
		if in.GetBatch() != last+1 || in.GetHost() == "" || lines == 0 || size > maxBatch {
			s.Complain(fmt.Errorf("batch %d of %q with %d lines of %d bytes after batch %d", in.GetBatch(), in.GetHost(), lines, size, last))
		}
		if err := s.treat(stream, in, lines); err != nil {
			return err
		}
	}
}

func count(runs []*dynodv1.LogRun) (lines, size int) {
	for _, r := range runs {
		size += len(r.GetText())
		for range r.Lines() {
			lines++
		}
	}
	return lines, size
}

func (s *Server) treat(stream grpc.BidiStreamingServer[dynodv1.ShipLogsRequest, dynodv1.ShipLogsResponse], in *dynodv1.ShipLogsRequest, n int) error {
	f := s.choose()
	if f == Refuse {
		return refusal()
	}
	reached, whole := s.Take(in.GetRuns(), f.most(n))
	if f.cuts() {
		s.wire.cut()
		return status.Error(codes.Unavailable, "cut on purpose")
	}
	if f == High && !whole {
		f = None // it would acknowledge what was not taken
	}
	return stream.Send(f.answer(in.GetBatch(), reached))
}
