package rpc_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/dynod/dynod/agent"
	"github.com/dynod/dynod/agent/agenttest"
	"github.com/dynod/dynod/agent/dyno"
	"github.com/dynod/dynod/logs"
	dynodv1 "github.com/dynod/dynod/proto/dynod/v1"
	"github.com/dynod/dynod/runtime"
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
		Dyno: first, Stream: logs.Stderr, Offset: 7, Size: 9, Time: noon, Text: []byte("\x00\xff text"), Continued: true, Lost: 3,
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
		Stream: dynodv1.LogStream_LOG_STREAM_STDERR, Offset: 7, Size: 9, Time: timestamppb.New(noon), Text: line.Text, Continued: true, LostBytes: 3,
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
	for id, name := range map[string]string{first: "worker.1", second: "worker.2"} {
		h.start(order(id, name))
		h.phase(id, dyno.Up)
	}
	told, err := drain(limited(t), h, &dynodv1.DrainHostRequest{Grace: durationpb.New(3 * time.Second), Parallel: 1})
	if err != nil || len(told) < 2 {
		t.Fatalf("got %v %v", told, err)
	}
	if m := told[0]; m.GetRemaining() != 2 || m.GetStopped() != 0 {
		t.Errorf("first: %v", m)
	}
	if m := told[len(told)-1]; m.GetRemaining() != 0 || m.GetStopped() != 2 {
		t.Errorf("last: %v", m)
	}
	one, two := h.phase(first, dyno.Down), h.phase(second, dyno.Down)
	if one.Stop.Grace != 3*time.Second || two.Stop.Grace != 3*time.Second {
		t.Errorf("grace of %s and %s", one.Stop.Grace, two.Stop.Grace)
	}
	if later := max(one.Stop.At.UnixNano(), two.Stop.At.UnixNano()); later < min(one.Since.UnixNano(), two.Since.UnixNano()) {
		t.Error("both were stopped at once")
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
	for name, call := range calls {
		if err := call(); status.Code(err) != codes.Unavailable {
			t.Errorf("%s: got %v", name, err)
		}
	}
	if out, err := h.GetHost(ctx, &dynodv1.GetHostRequest{}); err != nil || out.GetHost().GetContainerdReachable() {
		t.Errorf("GetHost: got %v %v", out, err)
	}
	h.runtime.Fail("List", nil)
	wait(t, "the agent to be ready", h.agent.Ready())
	h.start(order(first, "worker.1"))
}

// set notes every field that a message has, at any depth, by its full name.
func set(m protoreflect.Message, into map[protoreflect.FullName]bool) {
	m.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		into[f.FullName()] = true
		if isMessage(f) {
			set(v.Message(), into)
		}
		return true
	})
}

// unset are the fields that none of several messages of one type has, at any depth.
func unset(messages ...protoreflect.Message) []protoreflect.FullName {
	seen := map[protoreflect.FullName]bool{}
	for _, m := range messages {
		set(m, seen)
	}
	return missing(messages[0].Descriptor(), seen)
}

func missing(of protoreflect.MessageDescriptor, seen map[protoreflect.FullName]bool) (names []protoreflect.FullName) {
	for i := range of.Fields().Len() {
		f := of.Fields().Get(i)
		if !seen[f.FullName()] {
			names = append(names, f.FullName())
		}
		if isMessage(f) {
			names = append(names, missing(f.Message(), seen)...)
		}
	}
	return names
}

func TestDynoIsShownWhole(t *testing.T) {
	crashed := dyno.Record{
		ID: second, Generation: 5, Slot: 1, BootID: "boot-1", Phase: dyno.Crashed, Since: noon, Accepted: noon.Add(-time.Hour), Lives: 2,
		Crashes: []time.Time{noon}, NextStart: time.Now().Add(time.Hour).UTC(), Reason: "why", Stuck: true,
		Exit: &dyno.Exit{Code: 137, Signal: 9, OOM: true, At: noon, Failure: "lost", Error: dyno.R15},
		Spec: dyno.Spec{App: "shop", Name: "web.2", Type: "web", Size: "standard-1x", Port: 5002, Artifact: dyno.Artifact{Image: "img:1"}},
	}
	h := newHost(t, func(h *host) {
		if err := h.parts.Store.Add(crashed); err != nil {
			t.Fatal(err)
		}
	})
	h.start(fullSlug(first))
	h.network.Listen(first)
	since := h.phase(first, dyno.Up)
	get := func(id string) *dynodv1.Dyno {
		out, err := h.GetDyno(limited(t), &dynodv1.GetDynoRequest{DynoId: id})
		if err != nil {
			t.Fatal(err)
		}
		return out.GetDyno()
	}
	one, two := get(first), get(second)
	if diff := cmp.Diff(&dynodv1.Dyno{
		Id: first, Generation: 3, App: "shop", Name: "web.7", Type: "web", Size: "standard-1x", Phase: dynodv1.Phase_PHASE_UP,
		PhaseSince: timestamppb.New(since.Since), AcceptedAt: timestamppb.New(since.Accepted), Limits: fullSlug(first).GetSpec().GetLimits(),
		Address: "172.16.0.2", Port: 5001, HostPort: 20000, Pid: 4242, Lives: 1,
		Artifact: "small SHA256:" + strings.Repeat("a", 64), Command: "bin/web -p 5001",
	}, one, protocmp.Transform()); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(&dynodv1.Dyno{
		Id: second, Generation: 5, App: "shop", Name: "web.2", Type: "web", Size: "standard-1x", Phase: dynodv1.Phase_PHASE_CRASHED,
		PhaseSince: timestamppb.New(noon), AcceptedAt: timestamppb.New(noon.Add(-time.Hour)), Limits: &dynodv1.Limits{}, Port: 5002, Lives: 2,
		Exit:        &dynodv1.Exit{Code: 137, Signal: 9, OutOfMemory: true, At: timestamppb.New(noon), PlatformFailure: "lost", ErrorCode: "R15"},
		NextStartAt: timestamppb.New(crashed.NextStart), Reason: "why", Artifact: "img:1", Stuck: true,
	}, two, protocmp.Transform()); diff != "" {
		t.Error(diff)
	}
	if missing := unset(one.ProtoReflect(), two.ProtoReflect()); len(missing) > 0 {
		t.Errorf("never shown: %v", missing)
	}
}

func TestEveryPhaseIsShown(t *testing.T) {
	var n int
	h := newHost(t, func(h *host) { h.config.Slots = 10 })
	shown := func(want dynodv1.Phase, change func(*dynodv1.DynoSpec), then func(id string)) {
		t.Helper()
		n++
		o := order(fmt.Sprintf("00000000-0000-4000-8000-0000000000%d0", n), fmt.Sprintf("worker.%d", n))
		change(o.Spec)
		h.start(o)
		then(o.GetHeader().GetDynoId())
		for name, phase := range phases {
			if want == phase {
				h.phase(o.GetHeader().GetDynoId(), name)
			}
		}
		out, err := h.GetDyno(limited(t), &dynodv1.GetDynoRequest{DynoId: o.GetHeader().GetDynoId()})
		if err != nil || out.GetDyno().GetPhase() != want {
			t.Errorf("got %v %v, want %s", out.GetDyno().GetPhase(), err, want)
		}
	}
	nothing, asIs := func(string) {}, func(*dynodv1.DynoSpec) {}
	end := func(id string) { h.phase(id, dyno.Up); h.runtime.Exit(id, runtime.Exit{Code: 1}) }
	stop := func(id string) { h.phase(id, dyno.Up); h.stop(id, 1) }
	shown(dynodv1.Phase_PHASE_STARTING, func(s *dynodv1.DynoSpec) { s.Type = "web" }, nothing)
	shown(dynodv1.Phase_PHASE_UP, asIs, nothing)
	shown(dynodv1.Phase_PHASE_CRASHED, asIs, end)
	shown(dynodv1.Phase_PHASE_COMPLETE, func(s *dynodv1.DynoSpec) { s.OneOff = true }, end)
	shown(dynodv1.Phase_PHASE_DOWN, asIs, stop)
	h.runtime.Deaf()
	shown(dynodv1.Phase_PHASE_STOPPING, asIs, stop)
	if n != len(dynodv1.Phase_name)-1 {
		t.Errorf("%d of the phases %v", n, dynodv1.Phase_name)
	}
}

var phases = map[dyno.Phase]dynodv1.Phase{
	dyno.Starting: dynodv1.Phase_PHASE_STARTING, dyno.Up: dynodv1.Phase_PHASE_UP, dyno.Stopping: dynodv1.Phase_PHASE_STOPPING,
	dyno.Down: dynodv1.Phase_PHASE_DOWN, dyno.Crashed: dynodv1.Phase_PHASE_CRASHED, dyno.Complete: dynodv1.Phase_PHASE_COMPLETE,
}

// backlogged is a Logs with something to ship.
type backlogged struct{ *agenttest.Logs }

func (backlogged) Backlog() logs.Backlog { return logs.Backlog{Bytes: 77, Dynos: 1} }

func TestHostIsShownWhole(t *testing.T) {
	h := newHost(t, func(h *host) {
		h.config.Warnings = []string{"cgroup v1"}
		h.parts.Logs = backlogged{h.logs}
		if err := os.WriteFile(filepath.Join(h.records, second+".json"), []byte("damaged"), 0o600); err != nil {
			t.Fatal(err)
		}
	})
	h.runtime.Deaf()
	h.start(order(first, "worker.1"))
	h.phase(first, dyno.Up)
	stream, err := h.DrainHost(limited(t), &dynodv1.DrainHostRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Recv(); err != nil {
		t.Fatal(err)
	}
	h.phase(first, dyno.Stopping)
	out, err := h.GetHost(limited(t), &dynodv1.GetHostRequest{})
	if err != nil {
		t.Fatal(err)
	}
	got, known := out.GetHost(), h.agent.Host()
	want := &dynodv1.Host{
		Name: "h", AgentVersion: "1.2.3", BootId: "boot-1", AgentStartedAt: timestamppb.New(known.Started), Kernel: known.Kernel,
		Capacity:            &dynodv1.Capacity{MemoryBytes: 2 << 30, Dynos: 4, CpuMilli: uint32(known.CPUMilli)},
		Free:                &dynodv1.Capacity{MemoryBytes: 2<<30 - 512<<20, Dynos: 2, CpuMilli: uint32(known.CPUMilli)},
		Pressure:            got.GetPressure(), // the machine's own
		ContainerdReachable: true, SpoolBacklogBytes: 77, Cordoned: true, Draining: true,
		Warnings: []string{"cgroup v1"}, Unreadable: []string{second},
	}
	if diff := cmp.Diff(want, got, protocmp.Transform()); diff != "" {
		t.Error(diff)
	}
	got.Pressure = &dynodv1.Pressure{Cpu: 1, Memory: 1, Io: 1}
	if missing := unset(got.ProtoReflect()); len(missing) > 0 {
		t.Errorf("never shown: %v", missing)
	}
}

// What a dyno's makers can put into an error must not make the answer unsendable.
func TestOddBytesInAReason(t *testing.T) {
	h := newHost(t, func(h *host) { h.runtime.Fail("Prepare", errors.New("bad name \xff\xfe in slug")) })
	h.start(order(first, "worker.1"))
	h.phase(first, dyno.Crashed)
	out, err := h.GetDyno(limited(t), &dynodv1.GetDynoRequest{DynoId: first})
	if err != nil || !strings.Contains(out.GetDyno().GetReason(), "bad name \uFFFD") || !strings.Contains(out.GetDyno().GetExit().GetPlatformFailure(), "in slug") {
		t.Errorf("got %v %v", out, err)
	}
}

// recorder keeps the text of everything that a client receives.
type recorder struct {
	grpc.ClientConnInterface
	heard *lines
}

func (r recorder) Invoke(ctx context.Context, method string, in, out any, options ...grpc.CallOption) error {
	err := r.ClientConnInterface.Invoke(ctx, method, in, out, options...)
	_, _ = fmt.Fprintln(r.heard, method, prototext.Format(out.(proto.Message)), err, status.Convert(err).Details())
	return err
}

func TestSecretsStayInside(t *testing.T) {
	h := newHost(t)
	heard := &lines{}
	client := dynodv1.NewAgentServiceClient(recorder{h.conn, heard})
	ctx := limited(t)
	secret := fullSlug(first)
	secret.Spec.Environment = map[string]string{"KEY": "hidden-value"}
	secret.Spec.Artifact.GetSlug().Url = "https://hidden-url.example/?signature=hidden"
	image := fullImage(second)
	image.Spec.Artifact.GetImage().Username, image.Spec.Artifact.GetImage().Password = "hidden-user", "hidden-password"
	image.Spec.Environment = secret.Spec.Environment
	start := func(base *dynodv1.StartDynoRequest, change func(*dynodv1.StartDynoRequest)) {
		o := proto.CloneOf(base)
		change(o)
		_, _ = client.StartDyno(ctx, o)
	}
	for _, base := range []*dynodv1.StartDynoRequest{secret, image} {
		for _, change := range []func(*dynodv1.StartDynoRequest){
			func(*dynodv1.StartDynoRequest) {}, // accepted
			func(*dynodv1.StartDynoRequest) {}, // the same again
			func(o *dynodv1.StartDynoRequest) { o.Spec.Port++ },
			func(o *dynodv1.StartDynoRequest) { o.Header.Generation-- },
			func(o *dynodv1.StartDynoRequest) { o.Spec.App = "No" },
			func(o *dynodv1.StartDynoRequest) { o.Spec.Environment["KEY"] = strings.Repeat("hidden", 64<<10) },
			func(o *dynodv1.StartDynoRequest) { o.Spec.Environment["KEY"] = "hidden\x00" },
			func(o *dynodv1.StartDynoRequest) {
				o.Spec.LogSinks = []*dynodv1.LogSink{{Url: "hidden", Token: "hidden"}}
			},
			func(o *dynodv1.StartDynoRequest) { o.Spec.Attach = &dynodv1.AttachRequest{RendezvousUrl: "hidden"} },
		} {
			start(base, change)
		}
	}
	_, _ = client.GetDyno(ctx, &dynodv1.GetDynoRequest{DynoId: first})
	_, _ = client.ListDynos(ctx, &dynodv1.ListDynosRequest{})
	_, _ = client.GetHost(ctx, &dynodv1.GetHostRequest{})
	stream, err := h.WatchDynos(ctx, &dynodv1.WatchDynosRequest{})
	if err != nil {
		t.Fatal(err)
	}
	snapshot, err := stream.Recv()
	if err != nil {
		t.Fatal(err)
	}
	_, _ = fmt.Fprintln(heard, prototext.Format(snapshot))
	h.stop(first, 3)
	told, err := logLines(ctx, h, &dynodv1.StreamLogsRequest{DynoId: first})
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range told {
		_, _ = fmt.Fprintln(heard, string(l.GetText()))
	}
	for where, text := range map[string]string{"the answers": heard.String(), "the log": h.log.String()} {
		if strings.Contains(text, "hidden") {
			t.Errorf("a secret is in %s:\n%s", where, text)
		}
		if !strings.Contains(text, first) || !strings.Contains(text, second) {
			t.Errorf("%s are not what this test is about:\n%s", where, text)
		}
	}
	var kept agent.Status = h.await(second, func(agent.Status) bool { return true })
	if kept.Spec.Secret.Password != "hidden-password" {
		t.Error("the secrets did not arrive, so nothing was tested")
	}
}
