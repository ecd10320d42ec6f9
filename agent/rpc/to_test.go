package rpc_test

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/dynod/dynod/agent/agenttest"
	"github.com/dynod/dynod/agent/cloud"
	"github.com/dynod/dynod/agent/dyno"
	"github.com/dynod/dynod/logs"
	dynodv1 "github.com/dynod/dynod/proto/dynod/v1"
	"github.com/dynod/dynod/runtime"
)

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
		h.parts.Logs = backlogged{h.logs}
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
	delivery := []*dynodv1.LogDelivery{{
		Kind: "logplex", Number: 1, DeliveredLines: 2, DeliveredBytes: 3, Failures: 4, DroppedLines: 5, LostLines: 6, WaitingBytes: 7,
		OldestAt: timestamppb.New(noon),
	}}
	if diff := cmp.Diff(&dynodv1.Dyno{
		Id: first, Generation: 3, App: "shop", Name: "web.7", Type: "web", Size: "standard-1x", Phase: dynodv1.Phase_PHASE_UP,
		PhaseSince: timestamppb.New(since.Since), AcceptedAt: timestamppb.New(since.Accepted), Limits: fullSlug(first).GetSpec().GetLimits(),
		OneOff: true, RestartPolicy: fullSlug(first).GetSpec().GetRestartPolicy(),
		Address: "172.16.0.2", Port: 5001, HostPort: 20000, Pid: 4242, Lives: 1,
		Artifact: "small SHA256:" + strings.Repeat("a", 64), Command: "bin/web -p 5001",
		LogDelivery: delivery,
	}, one, protocmp.Transform()); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(&dynodv1.Dyno{
		Id: second, Generation: 5, App: "shop", Name: "web.2", Type: "web", Size: "standard-1x", Phase: dynodv1.Phase_PHASE_CRASHED,
		PhaseSince: timestamppb.New(noon), AcceptedAt: timestamppb.New(noon.Add(-time.Hour)), Limits: &dynodv1.Limits{}, Port: 5002, Lives: 2,
		Exit:        &dynodv1.Exit{Code: 137, Signal: 9, OutOfMemory: true, At: timestamppb.New(noon), PlatformFailure: "lost", ErrorCode: "R15"},
		NextStartAt: timestamppb.New(crashed.NextStart), Reason: "why", Artifact: "img:1", Stuck: true,
		Crashes: 1, RestartPolicy: &dynodv1.RestartPolicy{Kind: dynodv1.RestartPolicy_KIND_NONE},
		LogDelivery: delivery,
	}, two, protocmp.Transform()); diff != "" {
		t.Error(diff)
	}
	one.LogDelivery[0].Receivers = 1 // shown of hosts
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

func (backlogged) Account() logs.Account {
	counts := logs.SinkStats{Batches: 1, Lines: 2, Bytes: 3, Errors: 4, Dropped: 5, Lost: 6}
	return logs.Account{
		Backlog: logs.Backlog{Bytes: 77, Dynos: 1},
		Sinks:   map[string]logs.SinkAccount{logs.Upstream: {SinkStats: counts, Receivers: 1, Oldest: noon}},
	}
}

func (backlogged) Sinks(string) []logs.DynoSink {
	counts := logs.SinkStats{Batches: 1, Lines: 2, Bytes: 3, Errors: 4, Dropped: 5, Lost: 6}
	return []logs.DynoSink{{Kind: logs.Logplex, Number: 1, SinkStats: counts, Waiting: 7, Oldest: noon}}
}

// onEC2 is what a provider says, with every field set.
var onEC2 = cloud.State{
	Instance: cloud.Instance{
		ID: "i-1", Type: "m7g.large", Region: "eu-west-1", Zone: "eu-west-1b", Image: "ami-1", Account: "123", Lifecycle: "spot",
		Private: netip.MustParseAddr("10.0.0.1"), Public: netip.MustParseAddr("203.0.113.1"), IPv6: netip.MustParseAddr("2001:db8::1"),
		Tags: map[string]string{"Name": "n"},
	},
	Notices: []cloud.Notice{{Kind: cloud.Maintenance, ID: "e-1", Action: "system-reboot", Due: noon, Text: "reboot"}},
}

func TestHostIsShownWhole(t *testing.T) {
	said := make(agenttest.Cloud)
	h := newHost(t, func(h *host) {
		h.config.Warnings, h.config.DiskQuota, h.config.Upstream, h.config.WarmSlots = []string{"cgroup v1"}, "project", "plane:1", 1
		h.parts.Logs, h.parts.Cloud = backlogged{h.logs}, said
		if err := os.WriteFile(filepath.Join(h.records, second+".json"), []byte("damaged"), 0o600); err != nil {
			t.Fatal(err)
		}
	})
	h.runtime.Deaf()
	h.agent.Connected(true)
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
	said <- onEC2
	eventually(t, "the provider's word", func() bool { return h.agent.Host().Cloud.Instance.ID != "" })
	eventually(t, "a warm slot", func() bool { return h.agent.Host().WarmSlots == 1 })
	out, err := h.GetHost(limited(t), &dynodv1.GetHostRequest{})
	if err != nil {
		t.Fatal(err)
	}
	got, known := out.GetHost(), h.agent.Host()
	want := &dynodv1.Host{
		Name: "h", AgentVersion: "1.2.3", BootId: "boot-1", AgentStartedAt: timestamppb.New(known.Started), Kernel: known.Kernel,
		Capacity:            &dynodv1.Capacity{MemoryBytes: 2 << 30, Dynos: 4, CpuMilli: uint32(known.CPUMilli)},
		Free:                &dynodv1.Capacity{MemoryBytes: 2<<30 - 512<<20 - 2<<20, Dynos: 2, CpuMilli: uint32(known.CPUMilli)},
		Pressure:            got.GetPressure(), // the machine's own
		ContainerdReachable: true, SpoolBacklogBytes: 77, Cordoned: true, Draining: true,
		Warnings: []string{"cgroup v1"}, Unreadable: []string{second}, DiskQuota: "project",
		Instance: &dynodv1.Instance{
			Id: "i-1", Type: "m7g.large", Region: "eu-west-1", Zone: "eu-west-1b", ImageId: "ami-1", AccountId: "123", Lifecycle: "spot",
			PrivateAddress: "10.0.0.1", PublicAddress: "203.0.113.1", Ipv6Address: "2001:db8::1", Tags: map[string]string{"Name": "n"},
		},
		Notices: []*dynodv1.Notice{
			{Kind: dynodv1.Notice_KIND_MAINTENANCE, Id: "e-1", Action: "system-reboot", DueAt: timestamppb.New(noon), Description: "reboot"},
		},
		Upstream: "plane:1", UpstreamConnected: true, WarmSlots: 1,
		LogDelivery: []*dynodv1.LogDelivery{{
			Kind: "upstream", Receivers: 1, DeliveredLines: 2, DeliveredBytes: 3, Failures: 4, DroppedLines: 5, LostLines: 6, OldestAt: timestamppb.New(noon),
		}},
	}
	if diff := cmp.Diff(want, got, protocmp.Transform()); diff != "" {
		t.Error(diff)
	}
	got.Pressure = &dynodv1.Pressure{Cpu: 1, Memory: 1, Io: 1}
	got.LogDelivery[0].Number, got.LogDelivery[0].WaitingBytes = 1, 1 // shown of dynos
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

// One dyno's long texts must not make a message too large in which it is one of many.
func TestLongTextsAmongOthers(t *testing.T) {
	h := newHost(t, func(h *host) {
		h.config.Slots, h.config.Memory = 64, 64<<30
		h.runtime.Fail("Prepare", errors.New(strings.Repeat("why ", 30_000)))
	})
	p := newPlane(t)
	line := "x" + strings.Repeat("é", 60_000)
	const many = 33
	for n := range many {
		o := order(fmt.Sprintf("00000000-0000-4000-8000-%012d", n+1), fmt.Sprintf("run.%d", n+1))
		o.Spec.Command.Line = line
		h.start(o)
		h.phase(o.GetHeader().GetDynoId(), dyno.Crashed)
	}
	p.report(h, time.Hour)
	_, snapshot := p.connected(t)
	list, err := h.ListDynos(limited(t), &dynodv1.ListDynosRequest{})
	if err != nil {
		t.Fatal(err)
	}
	stream, err := h.WatchDynos(limited(t), &dynodv1.WatchDynosRequest{})
	if err != nil {
		t.Fatal(err)
	}
	watched, err := stream.Recv()
	if err != nil {
		t.Fatal(err)
	}
	for name, dynos := range map[string][]*dynodv1.Dyno{
		"report": snapshot.GetDynos(), "list": list.GetDynos(), "watch": watched.GetSnapshot().GetDynos(),
	} {
		if len(dynos) != many {
			t.Fatalf("%s: %d dynos", name, len(dynos))
		}
		for _, got := range []string{dynos[0].GetCommand(), dynos[0].GetReason(), dynos[0].GetExit().GetPlatformFailure()} {
			if len(got) > 300 || !strings.HasSuffix(got, "…") {
				t.Errorf("%s: %d bytes, %.80q", name, len(got), got)
			}
		}
	}
	whole, err := h.GetDyno(limited(t), &dynodv1.GetDynoRequest{DynoId: first})
	if d := whole.GetDyno(); err != nil || d.GetCommand() != line || len(d.GetReason()) < 100_000 {
		t.Errorf("by itself: %.80q %.80q %v", d.GetCommand(), d.GetReason(), err)
	}
}
