package rpc_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/dynod/dynod/agent/dyno"
	dynodv1 "github.com/dynod/dynod/proto/dynod/v1"
)

// violations are the fields that a BadRequest detail names.
func violations(err error) []string {
	var fields []string
	for _, detail := range status.Convert(err).Details() {
		if bad, ok := detail.(*errdetails.BadRequest); ok {
			for _, v := range bad.GetFieldViolations() {
				fields = append(fields, v.GetField())
			}
		}
	}
	return fields
}

func wantViolations(t *testing.T, err error, fields ...string) {
	t.Helper()
	wantCode(t, err, codes.InvalidArgument)
	if got := slices.Sorted(slices.Values(violations(err))); !slices.Equal(got, slices.Sorted(slices.Values(fields))) {
		t.Errorf("got %q, want %q", got, fields)
	}
}

func TestSameOrderTwice(t *testing.T) {
	h := newHost(t)
	h.start(order(first, "worker.1"))
	h.phase(first, dyno.Up)
	one, two := h.start(order(first, "worker.1")), h.start(order(first, "worker.1"))
	if !proto.Equal(one, two) || one.GetLives() != 1 || h.runtime.Creates() != 1 {
		t.Errorf("got %v, then %v", one, two)
	}
}

func TestRefusedOrders(t *testing.T) {
	h := newHost(t)
	running := order(first, "worker.1")
	running.Header.Generation = 3
	h.start(running)
	h.phase(first, dyno.Up)
	tests := map[string]struct {
		change func(*dynodv1.StartDynoRequest)
		want   codes.Code
	}{
		"another spec":     {func(o *dynodv1.StartDynoRequest) { o.Spec.Command.Line = "other" }, codes.AlreadyExists},
		"lower generation": {func(o *dynodv1.StartDynoRequest) { o.Header.Generation = 2 }, codes.FailedPrecondition},
		"too late": {func(o *dynodv1.StartDynoRequest) {
			o.Header.NotAfter = timestamppb.New(time.Now().Add(-time.Second))
		}, codes.DeadlineExceeded},
		"too much memory": {func(o *dynodv1.StartDynoRequest) {
			o.Header.DynoId, o.Spec.Limits = second, &dynodv1.Limits{MemoryBytes: 64 << 30}
		}, codes.ResourceExhausted},
		"bad spec":     {func(o *dynodv1.StartDynoRequest) { o.Spec.App = "No" }, codes.InvalidArgument},
		"without spec": {func(o *dynodv1.StartDynoRequest) { o.Spec = nil }, codes.InvalidArgument},
		"nothing":      {func(o *dynodv1.StartDynoRequest) { o.Header, o.Spec = nil, nil }, codes.InvalidArgument},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			o := proto.CloneOf(running)
			test.change(o)
			_, err := h.StartDyno(limited(t), o)
			wantCode(t, err, test.want)
			if h.runtime.Creates() != 1 || len(h.agent.List()) != 1 || h.agent.Host().FreeSlots != 3 {
				t.Error("the refused order had an effect")
			}
		})
	}
}

func TestNoCapacity(t *testing.T) {
	h := newHost(t)
	for i := range 4 {
		h.start(order(fmt.Sprintf("00000000-0000-4000-8000-00000000001%d", i), "worker.1"))
	}
	_, err := h.StartDyno(limited(t), order(first, "worker.5"))
	wantCode(t, err, codes.ResourceExhausted)
}

func TestStopErrors(t *testing.T) {
	h := newHost(t)
	if d := h.stop(second, 1); d != nil {
		t.Errorf("stop of an unknown dyno: got %v", d)
	}
	running := order(first, "worker.1")
	running.Header.Generation = 3
	h.start(running)
	h.phase(first, dyno.Up)
	tests := map[string]struct {
		order *dynodv1.StopDynoRequest
		want  codes.Code
	}{
		"lower generation": {&dynodv1.StopDynoRequest{Header: &dynodv1.OrderHeader{DynoId: first, Generation: 2}}, codes.FailedPrecondition},
		"too late": {&dynodv1.StopDynoRequest{Header: &dynodv1.OrderHeader{
			DynoId: first, Generation: 3, NotAfter: timestamppb.New(time.Unix(1, 0)),
		}}, codes.DeadlineExceeded},
		"without header": {&dynodv1.StopDynoRequest{}, codes.InvalidArgument},
		"long grace": {&dynodv1.StopDynoRequest{
			Header: running.Header, Grace: durationpb.New(2 * time.Hour),
		}, codes.InvalidArgument},
	}
	for name, test := range tests {
		_, err := h.StopDyno(limited(t), test.order)
		if status.Code(err) != test.want {
			t.Errorf("%s: got %v, want %s", name, err, test.want)
		}
	}
	h.phase(first, dyno.Up)
}

func TestBadSpecNamesEachField(t *testing.T) {
	h := newHost(t)
	o := order(first, "web")
	o.Spec.App, o.Spec.Artifact.GetSlug().Sha256 = "No", "beef"
	o.Spec.Environment["A=B"] = "x"
	_, err := h.StartDyno(limited(t), o)
	wantViolations(t, err, "spec.app", "spec.name", "spec.artifact.slug.sha256", `spec.environment["A=B"]`)

	_, err = h.StartDyno(limited(t), &dynodv1.StartDynoRequest{Header: &dynodv1.OrderHeader{DynoId: "X"}, Spec: o.Spec})
	wantViolations(t, err, "header.dyno_id", "header.generation")
}

// received is the error that a stream ends with at once.
func received[M any](s interface{ Recv() (M, error) }) error {
	_, err := s.Recv()
	return err
}

func TestSignal(t *testing.T) {
	h := newHost(t)
	ctx := limited(t)
	send := func(id string, number int32) error {
		_, err := h.SignalDyno(ctx, &dynodv1.SignalDynoRequest{DynoId: id, Signal: number})
		return err
	}
	h.start(order(first, "worker.1"))
	h.phase(first, dyno.Up)
	for _, number := range []int32{-1, 0, 9, 19, 65, 1 << 30} {
		wantViolations(t, send(first, number), "signal")
	}
	for _, number := range []int32{1, 10, 64} {
		if err := send(first, number); err != nil {
			t.Errorf("signal %d: %v", number, err)
		}
	}
	if got, want := h.runtime.Signals(first), []syscall.Signal{1, 10, 64}; !slices.Equal(got, want) {
		t.Errorf("got signals %v, want %v", got, want)
	}
	wantCode(t, send(second, 1), codes.NotFound)
	h.stop(first, 1)
	h.phase(first, dyno.Down)
	wantCode(t, send(first, 1), codes.FailedPrecondition)
}

func TestUnknownDyno(t *testing.T) {
	h := newHost(t)
	_, err := h.GetDyno(limited(t), &dynodv1.GetDynoRequest{DynoId: first})
	wantCode(t, err, codes.NotFound)
	_, err = logLines(limited(t), h, &dynodv1.StreamLogsRequest{DynoId: first})
	wantCode(t, err, codes.NotFound)
}

func TestContainerdAway(t *testing.T) {
	h := newHost(t, func(h *host) { h.runtime.Fail("Ping", errors.New("away")) })
	eventually(t, "the first ping", func() bool { return !h.agent.Host().Reachable })
	_, err := h.StartDyno(limited(t), order(first, "worker.1"))
	wantCode(t, err, codes.Unavailable)
}

// The client of package rpc would not even send so large a message; others do.
func TestLargeMessage(t *testing.T) {
	h := newHost(t)
	conn, err := grpc.NewClient("unix://"+h.socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	large := order(first, "worker.1")
	large.Spec.Environment["LARGE"] = strings.Repeat("x", 4<<20)
	for _, client := range []dynodv1.AgentServiceClient{h, dynodv1.NewAgentServiceClient(conn)} {
		_, err := client.StartDyno(limited(t), large)
		wantCode(t, err, codes.ResourceExhausted)
		if _, err := client.ListDynos(limited(t), &dynodv1.ListDynosRequest{}); err != nil {
			t.Errorf("the next call: %v", err)
		}
	}
	if len(h.agent.List()) != 0 {
		t.Error("a refused order had an effect")
	}
}

func TestCallerLeaves(t *testing.T) {
	h := newHost(t)
	h.start(order(first, "worker.1"))
	ctx, cancel := context.WithCancel(limited(t))
	stream, err := h.WatchDynos(ctx, &dynodv1.WatchDynosRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Recv(); err != nil {
		t.Fatal(err)
	}
	cancel()
	eventually(t, "the call's end in the log", func() bool {
		return strings.Contains(h.log.String(), `"method":"WatchDynos","caller":"`) && strings.Contains(h.log.String(), `"code":"Canceled"`)
	})
}
