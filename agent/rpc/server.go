package rpc

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"runtime/debug"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/grpc-ecosystem/go-grpc-middleware/v2/interceptors/recovery"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/reflection"
	"google.golang.org/grpc/stats"
	"google.golang.org/grpc/status"

	"github.com/dynod/dynod/agent"
	"github.com/dynod/dynod/agent/rpc/transport"
	dynodv1 "github.com/dynod/dynod/proto/dynod/v1"
)

// goodbye is how long calls in flight may go on when the agent leaves.
const goodbye = 3 * time.Second

// Server serves AgentService, gRPC health and reflection on one listener.
type Server struct {
	grpc   *grpc.Server
	health *health.Server
	lis    net.Listener
	leave  context.CancelFunc // ends open streams
}

// ServerParts are what servers have in common.
type ServerParts struct {
	Agent   *agent.Agent
	Calls   *Calls
	Metrics prometheus.Gatherer // that are told
	Traces  stats.Handler       // nil: none
	Log     *slog.Logger
}

// NewServer puts a server together; who may connect is decided by creds (ServerTLS, PeerCredentials).
func NewServer(p ServerParts, lis net.Listener, creds credentials.TransportCredentials) *Server {
	a, log := p.Agent, p.Log
	guard := recovery.WithRecoveryHandlerContext(func(_ context.Context, p any) error {
		log.Error("panic in a call", "panic", p, "stack", string(debug.Stack()))
		return status.Error(codes.Internal, "the agent failed on this call; it is logged")
	})
	leaving, leave := context.WithCancel(context.Background()) // ended by Run alone
	options := append(transport.ServeOptions(),
		grpc.Creds(creds),
		grpc.ChainUnaryInterceptor(p.Calls.unary, auditUnary(log), readyUnary(a), recovery.UnaryServerInterceptor(guard)),
		grpc.ChainStreamInterceptor(p.Calls.stream, auditStream(log), leaveStream(leaving), readyStream(a), recovery.StreamServerInterceptor(guard)),
	)
	if p.Traces != nil {
		options = append(options, grpc.StatsHandler(p.Traces))
	}
	s := grpc.NewServer(options...)
	h := health.NewServer()
	h.SetServingStatus("", healthpb.HealthCheckResponse_NOT_SERVING)
	dynodv1.RegisterAgentServiceServer(s, &service{agent: a, metrics: p.Metrics})
	healthpb.RegisterHealthServer(s, h)
	reflection.Register(s)
	return &Server{grpc: s, health: h, lis: lis, leave: leave}
}

// takingOver is how long a call waits for an agent that still takes over its host's dynos: longer than a restart takes.
const takingOver = 5 * time.Second

// ready holds up what could only be answered wrongly before the agent knows all dynos of its host, and then refuses it.
func ready(ctx context.Context, a *agent.Agent, method string) error {
	service := "/" + dynodv1.AgentService_ServiceDesc.ServiceName + "/"
	if !strings.HasPrefix(method, service) || method == dynodv1.AgentService_GetHost_FullMethodName {
		return nil
	}
	late := time.NewTimer(takingOver)
	defer late.Stop()
	select {
	case <-a.Ready():
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-late.C:
		return fmt.Errorf("the agent is still taking over this host's dynos: %w", errdefs.ErrUnavailable)
	}
}

func readyUnary(a *agent.Agent) grpc.UnaryServerInterceptor {
	return func(ctx context.Context, in any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
		if err := ready(ctx, a, info.FullMethod); err != nil {
			return nil, err
		}
		return next(ctx, in)
	}
}

func readyStream(a *agent.Agent) grpc.StreamServerInterceptor {
	return func(srv any, stream grpc.ServerStream, info *grpc.StreamServerInfo, next grpc.StreamHandler) error {
		if err := ready(stream.Context(), a, info.FullMethod); err != nil {
			return err
		}
		return next(srv, stream)
	}
}

// Run serves until ctx ends, then ends open streams and lets other calls in flight finish for a moment. ready turns
// health to SERVING when closed.
func (s *Server) Run(ctx context.Context, ready <-chan struct{}) error {
	defer s.leave()
	served := make(chan error, 1)
	go func() { served <- s.grpc.Serve(s.lis) }()
	for {
		select {
		case <-ready:
			ready = nil
			s.health.SetServingStatus("", healthpb.HealthCheckResponse_SERVING)
		case err := <-served:
			return wrapServe(s.lis, err)
		case <-ctx.Done():
			s.health.Shutdown()
			s.leave()
			kill := time.AfterFunc(goodbye, s.grpc.Stop)
			defer kill.Stop()
			s.grpc.GracefulStop()
			return wrapServe(s.lis, <-served)
		}
	}
}

func wrapServe(lis net.Listener, err error) error {
	if err == nil || errors.Is(err, grpc.ErrServerStopped) { // stopped before it began
		return nil
	}
	return fmt.Errorf("serve %s: %w", lis.Addr(), err)
}
