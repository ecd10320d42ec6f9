package e2e_test

import (
	"context"
	"encoding/hex"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	otlp "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/grpc"
	wire "google.golang.org/grpc/metadata"

	"github.com/dynod/dynod/test/lab"
	"github.com/dynod/dynod/test/rig"
)

// spans are what a collector of traces was sent.
type spans struct {
	collector.UnimplementedTraceServiceServer
	mu   sync.Mutex
	all  []*otlp.Span
	said strings.Builder // everything, as text
}

func (c *spans) Export(_ context.Context, in *collector.ExportTraceServiceRequest) (*collector.ExportTraceServiceResponse, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.said.WriteString(in.String())
	for _, r := range in.GetResourceSpans() {
		for _, scope := range r.GetScopeSpans() {
			c.all = append(c.all, scope.GetSpans()...)
		}
	}
	return &collector.ExportTraceServiceResponse{}, nil
}

// collect has a collector listen in the host of a lab, where agents find it.
func collect(t *testing.T, l *lab.Lab) *spans {
	t.Helper()
	c, server := &spans{}, grpc.NewServer()
	collector.RegisterTraceServiceServer(server, c)
	var lis net.Listener
	err := l.Do(l.Host(), func() (err error) {
		lis, err = net.Listen("tcp", "127.0.0.1:0")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = server.Serve(lis) }()
	t.Cleanup(server.Stop)
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://"+lis.Addr().String())
	t.Setenv("OTEL_BSP_SCHEDULE_DELAY", "50") // ms
	return c
}

// below are the names of a span's children in a trace.
func (c *spans) below(trace string, parent []byte) (names []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range c.all {
		if hex.EncodeToString(s.GetTraceId()) == trace && slices.Equal(s.GetParentSpanId(), parent) {
			names = append(names, s.GetName())
		}
	}
	slices.Sort(names)
	return names
}

func (c *spans) find(name string) *otlp.Span {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range c.all {
		if strings.HasSuffix(s.GetName(), name) {
			return s
		}
	}
	return nil
}

// The phases of a start are spans of its order's trace, which is the caller's; no secret is in them.
func TestTraces(t *testing.T) {
	l := lab.New(t)
	c := collect(t, l)
	s := openIn(t, l, "")
	const trace, caller = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
	ctx := wire.AppendToOutgoingContext(t.Context(), "traceparent", "00-"+trace+"-"+caller+"-01")
	_, err := s.API().StartDyno(ctx, s.order(1, "web.1", "./web web", env("PASSWORD", "hunter2")))
	s.check(err)
	s.await(id(1), up)
	want := []string{"artifact", "boot", "create", "launch", "logs", "network", "order", "start"}
	err = rig.Await(t.Context(), "the spans of a start", func() (bool, error) {
		order := c.find("AgentService/StartDyno")
		return order != nil && slices.Equal(c.below(trace, order.GetSpanId()), want), nil
	})
	order := c.find("AgentService/StartDyno")
	if err != nil {
		t.Fatalf("%v; there are %q of %v", err, c.below(trace, order.GetSpanId()), order)
	}
	if got := hex.EncodeToString(order.GetParentSpanId()); got != caller {
		t.Errorf("the order's span is below %s, not below its caller's", got)
	}
	s.stop(id(1))
	s.await(id(1), down)
	s.check(s.StopAgent())
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, secret := range []string{"hunter2", "PASSWORD", s.slug.file} {
		if strings.Contains(c.said.String(), secret) {
			t.Errorf("a trace tells %q", secret)
		}
	}
}
