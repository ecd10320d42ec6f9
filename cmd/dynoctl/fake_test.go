package main_test

import (
	"context"
	"net"
	"path/filepath"
	"sync"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/dynod/dynod/agent/rpc/transport"
	dynodv1 "github.com/dynod/dynod/proto/dynod/v1"
)

// world is what an agent answers from.
type world struct {
	dynos    []*dynodv1.Dyno
	host     *dynodv1.Host
	lines    []*dynodv1.LogLine
	news     []*dynodv1.WatchDynosResponse // after the snapshot
	refuse   error                         // of orders
	pressure *dynodv1.Pressure             // of every dyno
	silent   bool                          // GetHost does not answer
	stay     bool                          // streams go on after their last message
	leaves   []string                      // what happens at the ends of log streams, one after the other: "leave" or "forget"
}

// agent is an AgentService that answers from its world and keeps what it is asked.
type agent struct {
	dynodv1.UnimplementedAgentServiceServer

	socket string

	mu    sync.Mutex
	world world
	asked []proto.Message

	hangUps int // clients that left before their command had ended
}

// change changes the world between two runs.
func (a *agent) change(f func(*world)) {
	a.mu.Lock()
	defer a.mu.Unlock()
	f(&a.world)
}

// now is a copy of the world.
func (a *agent) now() world {
	a.mu.Lock()
	defer a.mu.Unlock()
	w := a.world
	w.dynos, w.lines, w.news, w.host = clones(w.dynos), clones(w.lines), clones(w.news), proto.CloneOf(w.host)
	return w
}

func clones[M proto.Message](messages []M) []M {
	var copies []M
	for _, m := range messages {
		copies = append(copies, proto.CloneOf(m))
	}
	return copies
}

// serveAgent serves w on a unix socket until the test ends.
func serveAgent(t *testing.T, w world) *agent {
	t.Helper()
	a := &agent{socket: filepath.Join(t.TempDir(), "s"), world: w}
	listener, err := net.Listen("unix", a.socket)
	if err != nil {
		t.Fatal(err)
	}
	options := append(transport.ServeOptions(), grpc.Creds(transport.PeerCredentials()), grpc.WaitForHandlers(true))
	server := grpc.NewServer(options...)
	dynodv1.RegisterAgentServiceServer(server, a)
	done := make(chan error, 1)
	go func() { done <- server.Serve(listener) }()
	t.Cleanup(func() {
		server.Stop()
		if err := <-done; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	return a
}

func (a *agent) note(m proto.Message) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.asked = append(a.asked, m)
}

// orders are the requests so far, questions apart.
func (a *agent) orders() []proto.Message {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.asked
}

func (w world) find(id string) *dynodv1.Dyno {
	for _, d := range w.dynos {
		if d.GetId() == id {
			return d
		}
	}
	return nil
}

func (a *agent) ListDynos(context.Context, *dynodv1.ListDynosRequest) (*dynodv1.ListDynosResponse, error) {
	return &dynodv1.ListDynosResponse{Dynos: a.now().dynos}, nil
}

func (a *agent) GetMetrics(context.Context, *dynodv1.GetMetricsRequest) (*dynodv1.GetMetricsResponse, error) {
	return &dynodv1.GetMetricsResponse{Text: "dynod_ready 1\n"}, nil
}

func (a *agent) GetHost(ctx context.Context, _ *dynodv1.GetHostRequest) (*dynodv1.GetHostResponse, error) {
	w := a.now()
	if w.silent {
		<-ctx.Done()
		return nil, status.FromContextError(ctx.Err()).Err()
	}
	return &dynodv1.GetHostResponse{Host: w.host}, nil
}

func (a *agent) StartDyno(_ context.Context, order *dynodv1.StartDynoRequest) (*dynodv1.StartDynoResponse, error) {
	a.note(order)
	return &dynodv1.StartDynoResponse{Dyno: &dynodv1.Dyno{
		Id: order.GetHeader().GetDynoId(), App: order.GetSpec().GetApp(), Name: order.GetSpec().GetName(),
		Phase: dynodv1.Phase_PHASE_STARTING,
	}}, a.now().refuse
}

func (a *agent) StopDyno(_ context.Context, order *dynodv1.StopDynoRequest) (*dynodv1.StopDynoResponse, error) {
	a.note(order)
	w := a.now()
	dyno := w.find(order.GetHeader().GetDynoId())
	dyno.Phase = dynodv1.Phase_PHASE_STOPPING
	return &dynodv1.StopDynoResponse{Dyno: dyno}, w.refuse
}

func (a *agent) CordonHost(_ context.Context, order *dynodv1.CordonHostRequest) (*dynodv1.CordonHostResponse, error) {
	a.note(order)
	host := a.now().host
	host.Cordoned = true
	return &dynodv1.CordonHostResponse{Host: host}, nil
}

// DrainHost stops the dynos one by one, unless the world refuses.
func (a *agent) DrainHost(order *dynodv1.DrainHostRequest, stream grpc.ServerStreamingServer[dynodv1.DrainHostResponse]) error {
	a.note(order)
	w := a.now()
	for i := range w.dynos {
		progress := &dynodv1.DrainHostResponse{Stopped: uint32(i), Remaining: uint32(len(w.dynos) - i)}
		if err := stream.Send(progress); err != nil {
			return err
		}
	}
	return w.refuse
}

func (a *agent) StreamLogs(ask *dynodv1.StreamLogsRequest, stream grpc.ServerStreamingServer[dynodv1.StreamLogsResponse]) error {
	a.note(ask)
	w := a.now()
	if w.find(ask.GetDynoId()) == nil {
		return status.Error(codes.NotFound, "no such dyno")
	}
	for _, l := range w.lines {
		if err := stream.Send(&dynodv1.StreamLogsResponse{Lines: []*dynodv1.LogLine{l}}); err != nil {
			return err
		}
	}
	if len(w.leaves) > 0 {
		return a.leave(w.leaves)
	}
	if ask.GetFollow() {
		return w.end(stream.Context())
	}
	return nil
}

// leave ends a log stream as an agent does that goes away; its successor may know the dyno no more.
func (a *agent) leave(how []string) error {
	a.change(func(w *world) {
		if w.leaves = how[1:]; how[0] == "forget" {
			w.dynos = nil
		}
	})
	return status.Error(codes.Unavailable, "the agent is going away")
}

func (a *agent) WatchDynos(_ *dynodv1.WatchDynosRequest, stream grpc.ServerStreamingServer[dynodv1.WatchDynosResponse]) error {
	w := a.now()
	snapshot := &dynodv1.WatchDynosResponse_Snapshot{Snapshot: &dynodv1.DynoSnapshot{Dynos: w.dynos}}
	for _, n := range append([]*dynodv1.WatchDynosResponse{{Event: snapshot}}, w.news...) {
		if err := stream.Send(n); err != nil {
			return err
		}
	}
	return w.end(stream.Context())
}

func (w world) end(ctx context.Context) error {
	if w.stay {
		<-ctx.Done()
		return nil
	}
	return status.Error(codes.Unavailable, "agent is shutting down")
}
