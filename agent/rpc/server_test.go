package rpc_test

import (
	"context"
	"errors"
	"iter"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/dynod/dynod/agent/rpc"
	"github.com/dynod/dynod/agent/rpc/transport"
	"github.com/dynod/dynod/logs"
	dynodv1 "github.com/dynod/dynod/proto/dynod/v1"
)

func TestHealth(t *testing.T) {
	h := arrive(t, func(h *host) { h.runtime.Fail("List", errors.New("containerd is away")) })
	stream, err := healthpb.NewHealthClient(h.conn).Watch(limited(t), &healthpb.HealthCheckRequest{})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []healthpb.HealthCheckResponse_ServingStatus{
		healthpb.HealthCheckResponse_NOT_SERVING, healthpb.HealthCheckResponse_SERVING, healthpb.HealthCheckResponse_NOT_SERVING,
	} {
		got, err := stream.Recv()
		if err != nil || got.GetStatus() != want {
			t.Fatalf("got %s %v, want %s", got.GetStatus(), err, want)
		}
		switch want {
		case healthpb.HealthCheckResponse_SERVING:
			go h.leave()
		default:
			h.runtime.Fail("List", nil)
		}
	}
}

// A caller that watches for ever must not keep the agent from leaving.
func TestLeaveWithAnOpenStream(t *testing.T) {
	h := newHost(t)
	stream, err := h.WatchDynos(limited(t), &dynodv1.WatchDynosRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Recv(); err != nil {
		t.Fatal(err)
	}
	begun := time.Now()
	h.leave()
	if took := time.Since(begun); took > 2*time.Second { // less than calls in flight are let go on
		t.Errorf("took %s", took)
	}
	_, err = stream.Recv()
	wantCode(t, err, codes.Unavailable)
}

// A call that ends soon is let finish.
func TestLeaveLetsCallsFinish(t *testing.T) {
	reached, finish := make(chan struct{}), make(chan struct{})
	h := newHost(t, func(h *host) {
		h.parts.Logs = reader{h.logs, func(context.Context, string, logs.ReadOptions) iter.Seq2[logs.Line, error] {
			return func(yield func(logs.Line, error) bool) {
				close(reached)
				<-finish
				yield(logs.Line{Stream: logs.Stdout}, nil)
			}
		}}
	})
	h.start(order(first, "worker.1"))
	stream, err := h.StreamLogs(limited(t), &dynodv1.StreamLogsRequest{DynoId: first})
	if err != nil {
		t.Fatal(err)
	}
	wait(t, "the call", reached)
	left := make(chan struct{})
	go func() { defer close(left); h.leave() }()
	eventually(t, "the listener's end", func() bool {
		conn, err := net.Dial("unix", h.socket)
		if err == nil {
			_ = conn.Close()
		}
		return err != nil
	})
	close(finish)
	if m, err := stream.Recv(); err != nil || len(m.GetLines()) != 1 {
		t.Errorf("got %v %v", m, err)
	}
	wait(t, "the server's end", left)
}

func TestServerOfAnAgentThatLeavesAtOnce(t *testing.T) {
	h := newHost(t)
	lis, err := net.Listen("unix", filepath.Join(memoryDir(t), "s"))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := rpc.NewServer(h.serverParts(), lis, transport.PeerCredentials()).Run(ctx, nil); err != nil {
		t.Errorf("got %v", err)
	}
}

func TestServerSaysWhyItCannotServe(t *testing.T) {
	h := newHost(t)
	lis, err := net.Listen("unix", filepath.Join(memoryDir(t), "s"))
	if err != nil {
		t.Fatal(err)
	}
	_ = lis.Close()
	err = rpc.NewServer(h.serverParts(), lis, transport.PeerCredentials()).Run(limited(t), nil)
	if !errors.Is(err, net.ErrClosed) || !strings.Contains(err.Error(), lis.Addr().String()) {
		t.Errorf("got %v", err)
	}
}

func TestPanicEndsOneCall(t *testing.T) {
	h := newHost(t, func(h *host) {
		h.parts.Logs = reader{h.logs, func(context.Context, string, logs.ReadOptions) iter.Seq2[logs.Line, error] {
			panic("not meant to happen")
		}}
	})
	h.start(order(first, "worker.1"))
	_, err := logLines(limited(t), h, &dynodv1.StreamLogsRequest{DynoId: first})
	wantCode(t, err, codes.Internal)
	if strings.Contains(err.Error(), "not meant to happen") || !strings.Contains(h.log.String(), "not meant to happen") {
		t.Errorf("got %v", err)
	}
	eventually(t, "the audit line", func() bool { return len(h.audited("StreamLogs")) == 1 })
	h.stop(first, 1)
}
