package rpc_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/dynod/dynod/agent"
	"github.com/dynod/dynod/agent/agenttest"
	"github.com/dynod/dynod/agent/cloud"
	"github.com/dynod/dynod/agent/dyno"
	"github.com/dynod/dynod/agent/rpc"
	dynodv1 "github.com/dynod/dynod/proto/dynod/v1"
	"github.com/dynod/dynod/runtime"
)

// hearing is one Report stream, whose reports must be numbered without a gap.
type hearing struct {
	*session[dynodv1.ReportRequest, dynodv1.ReportResponse]
	newest uint64
}

// report runs a Reporter of h until the test ends.
func (p *plane) report(h *host, heartbeat time.Duration) {
	h.t.Helper()
	r := &rpc.Reporter{Agent: h.agent, Upstream: p.conn, Heartbeat: heartbeat, Log: h.parts.Log}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- r.Run(ctx) }()
	h.t.Cleanup(func() {
		cancel()
		if err := next(h.t, "ends of the reporter", ended); err != nil {
			h.t.Error(err)
		}
	})
}

// connected is the next connection, and its snapshot.
func (p *plane) connected(t *testing.T) (*hearing, *dynodv1.ReportRequest) {
	t.Helper()
	s := &hearing{session: accept(t, p.reports)}
	r := s.heard()
	if !r.GetSnapshot() || len(r.GetForgotten()) > 0 {
		t.Fatalf("first report: %v", r)
	}
	return s, r
}

// heard is the next report.
func (s *hearing) heard() *dynodv1.ReportRequest {
	s.t.Helper()
	r := s.receive()
	s.newest++
	if r.GetSequence() != s.newest || r.GetHost().GetName() != "h" || time.Since(r.GetTime().AsTime()).Abs() > time.Minute {
		s.t.Fatalf("report %d: %v", s.newest, r)
	}
	return r
}

// until is the next report that is as wanted; a report after the first one is no snapshot.
func (s *hearing) until(as func(*dynodv1.ReportRequest) bool) *dynodv1.ReportRequest {
	s.t.Helper()
	for {
		r := s.heard()
		if r.GetSnapshot() {
			s.t.Fatalf("a second snapshot: %v", r)
		}
		if as(r) {
			return r
		}
	}
}

func (s *hearing) ack(sequence uint64) {
	s.t.Helper()
	s.send(&dynodv1.ReportResponse{Acknowledged: sequence})
}

// holds says that a report shows a dyno in a phase.
func holds(id string, phase dynodv1.Phase) func(*dynodv1.ReportRequest) bool {
	return func(r *dynodv1.ReportRequest) bool {
		for _, d := range r.GetDynos() {
			if d.GetId() == id && d.GetPhase() == phase {
				return true
			}
		}
		return false
	}
}

func forgets(id string) func(*dynodv1.ReportRequest) bool {
	return func(r *dynodv1.ReportRequest) bool { return len(r.GetForgotten()) == 1 && r.GetForgotten()[0] == id }
}

// An end is told until it is acknowledged, whatever happens to connections; then the dyno may be forgotten.
func TestEndIsToldUntilAcknowledged(t *testing.T) {
	h := newHost(t, func(h *host) { h.config.AwaitReports, h.config.KeepFinished = true, 0 })
	p := newPlane(t)
	h.start(order(second, "worker.2"))
	h.phase(second, dyno.Up)
	p.report(h, time.Hour)

	s, snapshot := p.connected(t)
	if len(snapshot.GetDynos()) != 1 || !holds(second, dynodv1.Phase_PHASE_UP)(snapshot) {
		t.Errorf("snapshot: %v", snapshot)
	}
	s.ack(1)
	h.start(order(first, "worker.1"))
	s.until(holds(first, dynodv1.Phase_PHASE_UP))
	s.ack(s.newest)
	h.runtime.Exit(first, runtime.Exit{Code: 3})
	end := s.until(holds(first, dynodv1.Phase_PHASE_CRASHED))
	if got := end.GetDynos()[0].GetExit().GetCode(); got != 3 {
		t.Errorf("exit code %d", got)
	}
	s.ack(end.GetSequence() - 1) // all but the end
	s.end()

	s, snapshot = p.connected(t)
	if len(snapshot.GetDynos()) != 2 || !holds(first, dynodv1.Phase_PHASE_CRASHED)(snapshot) {
		t.Errorf("second snapshot: %v", snapshot)
	}
	s.ack(999) // of a report that was never sent
	s.end()

	s, snapshot = p.connected(t) // so all that came before has been looked at
	if !holds(first, dynodv1.Phase_PHASE_CRASHED)(snapshot) {
		t.Errorf("third snapshot: %v", snapshot)
	}
	if d, err := h.agent.Get(first); err != nil || d.Reported {
		t.Errorf("acknowledged by a number that was never sent: %v %v", d, err)
	}
	s.ack(1)
	s.until(forgets(first))
	h.forgotten(first)
}

// What a report of starts waits for may not come: it is told that they have begun all the same.
func TestAStartThatHangsIsTold(t *testing.T) {
	h, p := newHost(t), newPlane(t)
	p.report(h, time.Minute)
	reports, _ := p.connected(t)
	release := h.runtime.Hold("Launch")
	h.start(order(first, "worker.1"))
	reports.until(holds(first, dynodv1.Phase_PHASE_STARTING))
	release()
	reports.until(holds(first, dynodv1.Phase_PHASE_UP))
}

func TestAcknowledgementCountsForAllBefore(t *testing.T) {
	h := newHost(t, func(h *host) { h.config.AwaitReports, h.config.KeepFinished = true, 0 })
	p := newPlane(t)
	for _, id := range []string{first, second} {
		h.start(order(id, "worker.1"))
		h.phase(id, dyno.Up)
	}
	p.report(h, time.Hour)
	s, _ := p.connected(t)
	for _, id := range []string{first, second} {
		h.runtime.Exit(id, runtime.Exit{})
		s.until(holds(id, dynodv1.Phase_PHASE_CRASHED))
	}
	s.ack(s.newest)
	h.forgotten(first)
	h.forgotten(second)
}

func TestHeartbeat(t *testing.T) {
	h := newHost(t)
	p := newPlane(t)
	h.start(order(first, "worker.1"))
	h.phase(first, dyno.Up)
	p.report(h, 200*time.Millisecond)
	s, _ := p.connected(t)
	for range 3 {
		s.ack(s.newest)
		if r := s.heard(); r.GetSnapshot() || len(r.GetDynos())+len(r.GetForgotten()) > 0 {
			t.Errorf("heartbeat: %v", r)
		}
	}
}

// The host is in every report as the agent's own service shows it.
func TestReportShowsTheHost(t *testing.T) {
	h := newHost(t)
	p := newPlane(t)
	p.report(h, time.Hour)
	_, snapshot := p.connected(t)
	out, err := h.GetHost(limited(t), &dynodv1.GetHostRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(out.GetHost(), snapshot.GetHost(), protocmp.Transform(), protocmp.IgnoreFields(&dynodv1.Host{}, "pressure")); diff != "" {
		t.Error(diff)
	}
}

// A control plane that takes reports and never answers, or does not even take them, is connected to anew.
func TestSilentControlPlane(t *testing.T) {
	h := newHost(t)
	p := newPlane(t)
	p.report(h, 20*time.Millisecond)
	s, _ := p.connected(t)
	p.connected(t)
	wait(t, "the first stream's end", s.stream.Context().Done())
	if !strings.Contains(h.log.String(), "the control plane does not answer") {
		t.Error("the log does not say why")
	}
}

// Before all dynos are known, a snapshot would say that those not yet known do not exist.
func TestNoReportBeforeReady(t *testing.T) {
	kept := dyno.New(first, 1, 0, "boot-1", dyno.Spec{App: "shop", Name: "web.1"}, time.Now())
	kept.Phase = dyno.Down
	h := arrive(t, func(h *host) {
		h.runtime.Fail("List", errors.New("containerd is away"))
		if err := h.parts.Store.Add(kept); err != nil {
			t.Fatal(err)
		}
	})
	p := newPlane(t)
	p.report(h, time.Hour)
	eventually(t, "the first attempt", func() bool { return strings.Contains(h.log.String(), "containerd is away") })
	h.runtime.Fail("List", nil)
	if _, snapshot := p.connected(t); !holds(first, dynodv1.Phase_PHASE_DOWN)(snapshot) {
		t.Errorf("got %v", snapshot)
	}
}

func TestReporterLeavesAtOnce(t *testing.T) {
	away := dial(t, memoryDir(t)+"/nobody")
	ready, waiting := newHost(t), arrive(t, func(h *host) { h.runtime.Fail("List", errors.New("containerd is away")) })
	for name, h := range map[string]*host{"nobody listens": ready, "not ready": waiting} {
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		r := &rpc.Reporter{Agent: h.agent, Upstream: away, Heartbeat: time.Hour, Log: h.parts.Log}
		go func() { ended <- r.Run(ctx) }()
		if h == ready {
			eventually(t, "the first failure", func() bool { return len(h.log.String()) > 0 })
		}
		cancel()
		if err := next(t, "ends of the reporter: "+name, ended); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Of many changes between two reports the newest counts; none that matters is left out.
func TestReportsOfManyDynos(t *testing.T) {
	h := newHost(t, func(h *host) { h.config.Slots, h.config.Memory = 50, 64<<30 })
	p := newPlane(t)
	p.report(h, time.Hour)
	s, _ := p.connected(t)
	missing := map[string]bool{}
	for i := range 50 {
		id := fmt.Sprintf("00000000-0000-4000-8000-0000000001%02d", i)
		missing[id] = true
		h.start(order(id, "worker.1"))
	}
	_, err := h.StartDyno(limited(t), order(first, "worker.1"))
	wantCode(t, err, codes.ResourceExhausted)
	s.until(func(r *dynodv1.ReportRequest) bool {
		for _, d := range r.GetDynos() {
			if d.GetPhase() == dynodv1.Phase_PHASE_UP {
				delete(missing, d.GetId())
			}
		}
		return len(missing) == 0
	})
}

// A notice, a cordon and their ends are told at once, long before the next heartbeat.
func TestHostIsToldAtOnce(t *testing.T) {
	said := make(agenttest.Cloud)
	h := newHost(t, func(h *host) {
		h.parts.Cloud = said
		h.config.Reactions = map[cloud.Kind]agent.Reaction{cloud.Maintenance: agent.CordonHost}
	})
	p := newPlane(t)
	p.report(h, time.Hour)
	s, _ := p.connected(t)
	said <- onEC2
	s.until(func(r *dynodv1.ReportRequest) bool {
		return r.GetHost().GetCordoned() && len(r.GetHost().GetNotices()) == 1 && r.GetHost().GetInstance().GetId() == "i-1"
	})
	_, err := h.StartDyno(limited(t), order(first, "worker.1"))
	wantCode(t, err, codes.FailedPrecondition)
	said <- cloud.State{Instance: onEC2.Instance}
	s.until(func(r *dynodv1.ReportRequest) bool { return len(r.GetHost().GetNotices()) == 0 })
	if _, err := h.UncordonHost(limited(t), &dynodv1.UncordonHostRequest{}); err != nil {
		t.Fatal(err)
	}
	s.until(func(r *dynodv1.ReportRequest) bool { return !r.GetHost().GetCordoned() })
}

// Every kind of notice has a name on the wire.
func TestNoticeKinds(t *testing.T) {
	said := make(agenttest.Cloud)
	h := newHost(t, func(h *host) { h.parts.Cloud = said })
	kinds := []cloud.Kind{cloud.Interruption, cloud.Rebalance, cloud.Maintenance, cloud.Lifecycle}
	var state cloud.State
	for _, k := range kinds {
		state.Notices = append(state.Notices, cloud.Notice{Kind: k, ID: string(k)})
	}
	said <- state
	eventually(t, "the notices", func() bool { return len(h.agent.Host().Cloud.Notices) == len(kinds) })
	out, err := h.GetHost(limited(t), &dynodv1.GetHostRequest{})
	if err != nil {
		t.Fatal(err)
	}
	for i, n := range out.GetHost().GetNotices() {
		if want := "KIND_" + strings.ToUpper(string(kinds[i])); n.GetKind().String() != want || n.GetId() != string(kinds[i]) {
			t.Errorf("%s is told as %v", kinds[i], n)
		}
	}
}

// A control plane counts as connected while it answers, not when a connection stands.
func TestHostTellsWhetherTheControlPlaneAnswers(t *testing.T) {
	h := newHost(t)
	p := newPlane(t)
	p.report(h, time.Hour)
	s, _ := p.connected(t)
	if h.agent.Host().Connected {
		t.Error("connected before any answer")
	}
	s.ack(1)
	eventually(t, "the answer to be known", func() bool { return h.agent.Host().Connected })
	s.end()
	eventually(t, "the end to be known", func() bool { return !h.agent.Host().Connected })
}
