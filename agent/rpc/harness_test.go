package rpc_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/dynod/dynod/agent"
	"github.com/dynod/dynod/agent/agenttest"
	"github.com/dynod/dynod/agent/dyno"
	"github.com/dynod/dynod/agent/rpc"
	"github.com/dynod/dynod/agent/rpc/transport"
	"github.com/dynod/dynod/agent/state"
	dynodv1 "github.com/dynod/dynod/proto/dynod/v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	first  = "00000000-0000-4000-8000-000000000001"
	second = "00000000-0000-4000-8000-000000000002"
	third  = "00000000-0000-4000-8000-000000000003"

	// patience is how long anything may take that a test waits for.
	patience = 20 * time.Second
)

// noon is a time with nothing below the microsecond, where a conversion could hide.
var noon = time.Date(2026, 1, 2, 12, 0, 0, 345678000, time.UTC)

// host is a real agent on fake parts behind a real server on a unix socket, and a client of it.
type host struct {
	dynodv1.AgentServiceClient
	t       *testing.T
	agent   *agent.Agent
	runtime *agenttest.Runtime
	network *agenttest.Network
	logs    *agenttest.Logs
	meet    *agenttest.Rendezvous
	config  agent.Config
	parts   agent.Parts
	records string // directory of the store
	log     *lines // of the agent and the server, level debug, JSON
	socket  string
	conn    *grpc.ClientConn
	leave   func() // ends agent and server, and returns when they have
}

// newHost starts an agent that is ready. change may replace its parts and settings first.
func newHost(t *testing.T, change ...func(*host)) *host {
	t.Helper()
	h := arrive(t, change...)
	wait(t, "the agent to be ready", h.agent.Ready())
	return h
}

// arrive starts an agent that need not be ready yet.
func arrive(t *testing.T, change ...func(*host)) *host {
	t.Helper()
	dir := memoryDir(t)
	h := &host{
		t: t, runtime: agenttest.NewRuntime(), network: agenttest.NewNetwork(), logs: agenttest.NewLogs(), meet: agenttest.NewRendezvous(),
		records: t.TempDir(), log: &lines{}, socket: filepath.Join(dir, "s"), config: settings(),
	}
	store, err := state.Open(h.records, filepath.Join(dir, "secrets"))
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.NewJSONHandler(h.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	h.parts = agent.Parts{Runtime: h.runtime, Network: h.network, Logs: h.logs, Rendezvous: h.meet, Store: store, Log: log}
	for _, c := range change {
		c(h)
	}
	h.agent = agent.New(h.parts, h.config)
	h.serve()
	h.conn = dial(t, h.socket)
	h.AgentServiceClient = dynodv1.NewAgentServiceClient(h.conn)
	return h
}

// memoryDir is a directory on tmpfs, with a name short enough for a socket.
func memoryDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "dynod-rpc-") //nolint:usetesting // must lie on tmpfs
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

func settings() agent.Config {
	return agent.Config{
		Host: "h", Version: "1.2.3", BootID: "boot-1", Slots: 4, Memory: 2 << 30, KeepFinished: time.Hour,
		Defaults: dyno.Defaults{
			Sizes: map[string]dyno.Limits{"standard-1x": {Memory: 512 << 20, CPUWeight: 100, Pids: 256, Files: 1000}},
			Size:  "standard-1x", Port: 5000, BootTimeout: time.Minute, Grace: 30 * time.Second,
			Sources: dyno.Sources{Stacks: []string{"small"}},
		},
	}
}

func (h *host) serverParts() rpc.ServerParts {
	return rpc.ServerParts{Agent: h.agent, Calls: rpc.NewCalls(nil), Metrics: prometheus.NewRegistry(), Log: h.parts.Log}
}

func (h *host) serve() {
	lis, err := net.Listen("unix", h.socket)
	if err != nil {
		h.t.Fatal(err)
	}
	server := rpc.NewServer(h.serverParts(), lis, transport.PeerCredentials())
	ctx, cancel := context.WithCancel(context.Background())
	var group sync.WaitGroup
	for _, run := range []func() error{
		func() error { return h.agent.Run(ctx) },
		func() error { return server.Run(ctx, h.agent.Ready()) },
	} {
		group.Go(func() {
			if err := run(); err != nil {
				h.t.Error(err)
			}
		})
	}
	h.leave = func() { cancel(); group.Wait() }
	h.t.Cleanup(h.leave)
}

// dial connects to a unix socket as the daemon's own clients do.
func dial(t *testing.T, socket string) *grpc.ClientConn {
	t.Helper()
	conn, err := transport.Dial("unix://"+socket, transport.DialOptions{UserAgent: "test"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// limited is a context for calls that must not hang.
func limited(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

func order(id, name string) *dynodv1.StartDynoRequest {
	return &dynodv1.StartDynoRequest{
		Header: &dynodv1.OrderHeader{DynoId: id, Generation: 1},
		Spec: &dynodv1.DynoSpec{
			App: "shop", Name: name, Command: &dynodv1.Command{Line: "run"},
			Artifact: &dynodv1.Artifact{Kind: &dynodv1.Artifact_Slug{Slug: &dynodv1.SlugArtifact{
				Url: "https://slugs.example/1", Sha256: strings.Repeat("a", 64), Stack: "small",
			}}},
			Environment: map[string]string{"KEY": "value"},
		},
	}
}

// fullSlug is an order in which every field is set that a slug may have, each to a value of its own.
func fullSlug(id string) *dynodv1.StartDynoRequest {
	o := order(id, "web.7")
	o.Header = &dynodv1.OrderHeader{
		DynoId: id, Generation: 3, NotAfter: timestamppb.New(time.Now().Add(time.Hour)), TraceId: strings.Repeat("1f", 16),
	}
	s := o.Spec
	s.Type, s.Size, s.Port, s.OneOff, s.NetworkPolicy = "web", "standard-1x", 5001, true, "default"
	s.Limits = &dynodv1.Limits{MemoryBytes: 64 << 20, CpuWeight: 101, CpuCeilingMilli: 1500, Pids: 33, OpenFiles: 1001, DiskBytes: 8 << 20}
	s.Command = &dynodv1.Command{Line: "bin/web -p $PORT"}
	s.BootTimeout, s.Grace, s.TimeToLive = durationpb.New(41*time.Second), durationpb.New(42*time.Second), durationpb.New(43*time.Minute)
	s.LogRuntimeMetrics = true
	s.RestartPolicy = &dynodv1.RestartPolicy{
		Kind:   dynodv1.RestartPolicy_KIND_BACKOFF,
		Delays: []*durationpb.Duration{durationpb.New(time.Hour), durationpb.New(2 * time.Hour)}, ResetAfter: durationpb.New(44 * time.Second),
	}
	s.LogSinks = []*dynodv1.LogSink{{Url: "https://logs.example/1", Token: "sink-token"}, {Url: "syslog+tls://logs.example"}}
	s.Metadata = &dynodv1.Metadata{
		AppId: "m-app", ReleaseVersion: "m-version", ReleaseCreatedAt: timestamppb.New(noon), SlugCommit: "m-commit",
		SlugDescription: "m-description", ReleaseId: "m-release",
	}
	return o
}

// fullImage is the same for an image.
func fullImage(id string) *dynodv1.StartDynoRequest {
	o := fullSlug(id)
	o.Spec.Artifact = &dynodv1.Artifact{Kind: &dynodv1.Artifact_Image{Image: &dynodv1.ImageArtifact{
		Reference: "registry.example/app:1", Username: "someone", Password: "secret-password",
	}}}
	o.Spec.Command = &dynodv1.Command{Words: []string{"serve", "$PORT"}}
	return o
}

// fullAttach is an order in which every field of an attached dyno is set.
func fullAttach(id string) *dynodv1.StartDynoRequest {
	o := order(id, "run.1")
	o.Spec.OneOff = true
	o.Spec.Attach = &dynodv1.AttachRequest{
		Terminal: true, Size: &dynodv1.WindowSize{Rows: 24, Columns: 80}, RendezvousUrl: "rendezvous://rendezvous.example:5000/secret",
	}
	return o
}

func (h *host) start(o *dynodv1.StartDynoRequest) *dynodv1.Dyno {
	h.t.Helper()
	out, err := h.StartDyno(limited(h.t), o)
	if err != nil {
		h.t.Fatalf("start: %v", err)
	}
	return out.GetDyno()
}

func (h *host) stop(id string, generation int64) *dynodv1.Dyno {
	h.t.Helper()
	out, err := h.StopDyno(limited(h.t), &dynodv1.StopDynoRequest{Header: &dynodv1.OrderHeader{DynoId: id, Generation: generation}})
	if err != nil {
		h.t.Fatalf("stop: %v", err)
	}
	return out.GetDyno()
}

// await waits until a dyno is as wanted.
func (h *host) await(id string, as func(agent.Status) bool) agent.Status {
	h.t.Helper()
	ctx := limited(h.t)
	watch, _ := h.agent.Watch()
	defer watch.Close()
	for {
		s, err := h.agent.Get(id)
		if err == nil && as(s) {
			return s
		}
		if _, _, err := watch.Next(ctx); err != nil {
			h.t.Fatalf("dyno is still in phase %q: %v", s.Phase, err)
		}
	}
}

func (h *host) phase(id string, want dyno.Phase) agent.Status {
	h.t.Helper()
	return h.await(id, func(s agent.Status) bool { return s.Phase == want })
}

// forgotten waits until a dyno is unknown.
func (h *host) forgotten(id string) {
	h.t.Helper()
	ctx := limited(h.t)
	watch, _ := h.agent.Watch()
	defer watch.Close()
	for {
		if _, err := h.agent.Get(id); err != nil {
			return
		}
		if _, _, err := watch.Next(ctx); err != nil {
			h.t.Fatalf("dyno is still known: %v", err)
		}
	}
}

func wantCode(t *testing.T, err error, want codes.Code) {
	t.Helper()
	if got := status.Code(err); got != want {
		t.Errorf("got %s (%v), want %s", got, err, want)
	}
}

// wait waits for a channel to be closed.
func wait(t *testing.T, what string, done <-chan struct{}) {
	t.Helper()
	select {
	case <-done:
	case <-time.After(patience):
		t.Fatalf("waited in vain for %s", what)
	}
}

// next is the next value of a channel.
func next[T any](t *testing.T, what string, from <-chan T) T {
	t.Helper()
	select {
	case v, ok := <-from:
		if !ok {
			t.Fatalf("no more %s", what)
		}
		return v
	case <-time.After(patience):
		t.Fatalf("waited in vain for %s", what)
		panic("unreachable")
	}
}

// lines is a log kept in memory.
type lines struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// eventually looks again and again until it is so. For what nobody tells of.
func eventually(t *testing.T, what string, so func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(patience); !so(); <-tick.C {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

// drain drains the host and gives all that was told on the way.
func drain(ctx context.Context, h *host, in *dynodv1.DrainHostRequest) ([]*dynodv1.DrainHostResponse, error) {
	stream, err := h.DrainHost(ctx, in)
	if err != nil {
		return nil, err
	}
	return all(stream)
}

// logLines reads a dyno's lines to their end.
func logLines(ctx context.Context, h *host, in *dynodv1.StreamLogsRequest) ([]*dynodv1.LogLine, error) {
	stream, err := h.StreamLogs(ctx, in)
	if err != nil {
		return nil, err
	}
	answers, err := all(stream)
	var lines []*dynodv1.LogLine
	for _, a := range answers {
		lines = append(lines, a.GetLines()...)
	}
	return lines, err
}

// all reads a stream to its end.
func all[M any](stream grpc.ServerStreamingClient[M]) ([]*M, error) {
	var messages []*M
	for {
		m, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return messages, nil
		}
		if err != nil {
			return messages, err
		}
		messages = append(messages, m)
	}
}
