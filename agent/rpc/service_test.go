package rpc_test

import (
	"context"
	"errors"
	"iter"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/dynod/dynod/agent"
	"github.com/dynod/dynod/agent/agenttest"
	"github.com/dynod/dynod/agent/dyno"
	"github.com/dynod/dynod/logs"
	dynodv1 "github.com/dynod/dynod/proto/dynod/v1"
	"github.com/dynod/dynod/runtime"
	"github.com/dynod/dynod/runtime/cgroup"
)

func TestWatchDynos(t *testing.T) {
	h := newHost(t, func(h *host) { h.config.KeepFinished = 0 })
	h.start(order(first, "worker.1"))
	h.phase(first, dyno.Up)
	stream, err := h.WatchDynos(limited(t), &dynodv1.WatchDynosRequest{})
	if err != nil {
		t.Fatal(err)
	}
	receive := func() *dynodv1.WatchDynosResponse {
		t.Helper()
		m, err := stream.Recv()
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	all := receive().GetSnapshot().GetDynos()
	if len(all) != 1 || all[0].GetId() != first || all[0].GetPhase() != dynodv1.Phase_PHASE_UP {
		t.Fatalf("snapshot: %v", all)
	}
	h.start(order(second, "worker.2"))
	for up := false; !up; {
		d := receive().GetChanged()
		if d.GetId() != second {
			t.Fatalf("got %v, want a change of the other dyno", d)
		}
		up = d.GetPhase() == dynodv1.Phase_PHASE_UP
	}
	h.runtime.Exit(first, runtime.Exit{Code: 1})
	for forgotten := ""; forgotten == ""; {
		m := receive()
		if forgotten = m.GetForgotten(); forgotten != first && m.GetChanged().GetId() != first {
			t.Fatalf("got %v", m)
		}
	}
}

func TestListIsOrdered(t *testing.T) {
	h := newHost(t)
	h.start(order(first, "worker.2"))
	h.start(order(second, "worker.1"))
	out, err := h.ListDynos(limited(t), &dynodv1.ListDynosRequest{})
	if err != nil || len(out.GetDynos()) != 2 || out.GetDynos()[0].GetId() != second {
		t.Errorf("got %v %v", out, err)
	}
}

func TestPressureOfADyno(t *testing.T) {
	h := newHost(t)
	h.start(order(first, "worker.1"))
	h.phase(first, dyno.Up)
	h.runtime.Use(first, runtime.Usage{Pressure: cgroup.Pressure{CPU: 1.5, Memory: 2, IO: 3}}, 0)
	out, err := h.GetDyno(limited(t), &dynodv1.GetDynoRequest{DynoId: first})
	if p := out.GetPressure(); err != nil || p.GetCpu() != 1.5 || p.GetMemory() != 2 || p.GetIo() != 3 {
		t.Errorf("got %v %v", p, err)
	}
}

func TestStopTravelsWhole(t *testing.T) {
	h := newHost(t)
	h.runtime.Deaf()
	h.start(order(first, "worker.1"))
	h.phase(first, dyno.Up)
	out, err := h.StopDyno(limited(t), &dynodv1.StopDynoRequest{
		Header: &dynodv1.OrderHeader{DynoId: first, Generation: 4}, Grace: durationpb.New(7 * time.Minute), Reason: "Cycling",
	})
	if err != nil || out.GetDyno().GetPhase() != dynodv1.Phase_PHASE_STOPPING || out.GetDyno().GetGeneration() != 4 {
		t.Errorf("got %v %v", out, err)
	}
	s := h.phase(first, dyno.Stopping)
	if s.Stop.Grace != 7*time.Minute || s.Stop.Reason != "Cycling" {
		t.Errorf("got %+v", s.Stop)
	}
}

func TestStopGraceZeroIsNotAbsent(t *testing.T) {
	h := newHost(t)
	for id, grace := range map[string]*durationpb.Duration{first: nil, second: {}} {
		h.start(order(id, "worker.1"))
		h.phase(id, dyno.Up)
		if _, err := h.StopDyno(limited(t), &dynodv1.StopDynoRequest{Header: &dynodv1.OrderHeader{DynoId: id, Generation: 1}, Grace: grace}); err != nil {
			t.Fatal(err)
		}
	}
	if s := h.phase(first, dyno.Down); s.Stop.Grace != 30*time.Second {
		t.Errorf("absent: %s", s.Stop.Grace)
	}
	if s := h.phase(second, dyno.Down); s.Stop.Grace != 0 {
		t.Errorf("zero: %s", s.Stop.Grace)
	}
}

// reader is a Logs whose Read is the test's.
type reader struct {
	*agenttest.Logs
	read func(context.Context, string, logs.ReadOptions) iter.Seq2[logs.Line, error]
}

func (r reader) Read(ctx context.Context, id string, o logs.ReadOptions) iter.Seq2[logs.Line, error] {
	return r.read(ctx, id, o)
}

func TestStreamLogs(t *testing.T) {
	line := logs.Line{
		Dyno: first, Stream: logs.Stderr, Offset: 7, Size: 9, Time: noon, Text: []byte("\x00\xff text"), Continued: true, Lost: 3, LostLines: 2, LostSince: noon,
	}
	var asked []logs.ReadOptions
	broken := errors.New("spool broken")
	h := newHost(t, func(h *host) {
		h.parts.Logs = reader{h.logs, func(_ context.Context, _ string, o logs.ReadOptions) iter.Seq2[logs.Line, error] {
			asked = append(asked, o)
			return func(yield func(logs.Line, error) bool) {
				if yield(line, nil) && o.Tail == 1 {
					yield(logs.Line{}, broken)
				}
			}
		}}
	})
	h.start(order(first, "worker.1"))
	got, err := logLines(limited(t), h, &dynodv1.StreamLogsRequest{DynoId: first})
	want := []*dynodv1.LogLine{{
		Stream: dynodv1.LogStream_LOG_STREAM_STDERR, Offset: 7, Size: 9, Time: timestamppb.New(noon), Text: line.Text, Continued: true, LostBytes: 3, LostLines: 2,
		LostSince: timestamppb.New(noon),
	}}
	if diff := cmp.Diff(want, got, protocmp.Transform()); diff != "" || err != nil {
		t.Errorf("%v %s", err, diff)
	}
	if missing := unset(got[0].ProtoReflect()); len(missing) > 0 {
		t.Errorf("never set: %v", missing)
	}
	zero, one := uint32(0), uint32(1)
	if _, err := logLines(limited(t), h, &dynodv1.StreamLogsRequest{DynoId: first, Tail: &zero}); err != nil {
		t.Error(err)
	}
	_, err = logLines(limited(t), h, &dynodv1.StreamLogsRequest{
		DynoId: first, Follow: true, Tail: &one, Since: timestamppb.New(noon),
		Streams: []dynodv1.LogStream{dynodv1.LogStream_LOG_STREAM_STDOUT, dynodv1.LogStream_LOG_STREAM_PLATFORM},
	})
	wantCode(t, err, codes.Unknown)
	if diff := cmp.Diff([]logs.ReadOptions{
		{Tail: -1}, {}, {Follow: true, Tail: 1, Since: noon, Streams: []logs.Stream{logs.Stdout, logs.Platform}},
	}, asked); diff != "" {
		t.Error(diff)
	}
}

func TestStreamsHaveOneNumber(t *testing.T) {
	for of, number := range map[dynodv1.LogStream]logs.Stream{
		dynodv1.LogStream_LOG_STREAM_STDOUT:   logs.Stdout,
		dynodv1.LogStream_LOG_STREAM_STDERR:   logs.Stderr,
		dynodv1.LogStream_LOG_STREAM_PLATFORM: logs.Platform,
	} {
		if int(of) != int(number) {
			t.Errorf("%s is %d on the wire and %d in package logs", of, of, number)
		}
	}
	if len(dynodv1.LogStream_name) != 4 {
		t.Errorf("a stream is missing here: %v", dynodv1.LogStream_name)
	}
}

func TestCordon(t *testing.T) {
	h := newHost(t)
	ctx := limited(t)
	cordoned, err := h.CordonHost(ctx, &dynodv1.CordonHostRequest{Reason: "kernel update"})
	if err != nil || !cordoned.GetHost().GetCordoned() {
		t.Errorf("got %v %v", cordoned, err)
	}
	_, err = h.StartDyno(ctx, order(first, "worker.1"))
	wantCode(t, err, codes.FailedPrecondition)
	if !strings.Contains(err.Error(), "kernel update") {
		t.Errorf("%v does not give the reason", err)
	}
	open, err := h.UncordonHost(ctx, &dynodv1.UncordonHostRequest{})
	if err != nil || open.GetHost().GetCordoned() {
		t.Errorf("got %v %v", open, err)
	}
	h.start(order(first, "worker.1"))
}

func TestDrain(t *testing.T) {
	h := newHost(t)
	h.runtime.Deaf()
	for id, name := range map[string]string{first: "worker.1", second: "worker.2"} {
		h.start(order(id, name))
		h.phase(id, dyno.Up)
	}
	stream, err := h.DrainHost(limited(t), &dynodv1.DrainHostRequest{Grace: durationpb.New(3 * time.Minute), Parallel: 1})
	if err != nil {
		t.Fatal(err)
	}
	terminated := func(s agent.Status) bool { return s.Stop != nil && s.Stop.Sent && s.Stop.Grace == 3*time.Minute }
	h.await(first, terminated)
	h.runtime.Exit(first, runtime.Exit{})
	gone := h.phase(first, dyno.Down)
	if next := h.await(second, terminated); next.Stop.At.Before(gone.Since) {
		t.Error("both were stopped at once")
	}
	h.runtime.Exit(second, runtime.Exit{})
	told, err := all(stream)
	if err != nil || len(told) < 2 {
		t.Fatalf("got %v %v", told, err)
	}
	if m := told[0]; m.GetRemaining() != 2 || m.GetStopped() != 0 {
		t.Errorf("first: %v", m)
	}
	if m := told[len(told)-1]; m.GetRemaining() != 0 || m.GetStopped() != 2 {
		t.Errorf("last: %v", m)
	}
	if !h.agent.Host().Cordoned {
		t.Error("the host is not cordoned")
	}
}

// Before all dynos are known, an answer about them would be wrong: an unknown dyno may well be there.
func TestNotReady(t *testing.T) {
	h := arrive(t, func(h *host) { h.runtime.Fail("List", errors.New("containerd is away")) })
	ctx := limited(t)
	calls := map[string]func() error{
		"StartDyno": func() error { _, err := h.StartDyno(ctx, order(first, "worker.1")); return err },
		"StopDyno": func() error {
			_, err := h.StopDyno(ctx, &dynodv1.StopDynoRequest{Header: &dynodv1.OrderHeader{DynoId: first, Generation: 1}})
			return err
		},
		"GetDyno":   func() error { _, err := h.GetDyno(ctx, &dynodv1.GetDynoRequest{DynoId: first}); return err },
		"ListDynos": func() error { _, err := h.ListDynos(ctx, &dynodv1.ListDynosRequest{}); return err },
		"SignalDyno": func() error {
			_, err := h.SignalDyno(ctx, &dynodv1.SignalDynoRequest{DynoId: first, Signal: 1})
			return err
		},
		"StreamLogs": func() error { _, err := logLines(ctx, h, &dynodv1.StreamLogsRequest{DynoId: first}); return err },
		"DrainHost":  func() error { _, err := drain(ctx, h, &dynodv1.DrainHostRequest{}); return err },
		"WatchDynos": func() error {
			stream, err := h.WatchDynos(ctx, &dynodv1.WatchDynosRequest{})
			return errors.Join(err, received(stream))
		},
	}
	var all sync.WaitGroup
	for name, call := range calls {
		all.Go(func() {
			if err := call(); status.Code(err) != codes.Unavailable {
				t.Errorf("%s: got %v", name, err)
			}
		})
	}
	all.Wait()
	if out, err := h.GetHost(ctx, &dynodv1.GetHostRequest{}); err != nil || out.GetHost().GetContainerdReachable() {
		t.Errorf("GetHost: got %v %v", out, err)
	}
	h.runtime.Fail("List", nil)
	wait(t, "the agent to be ready", h.agent.Ready())
	h.start(order(first, "worker.1"))
}
