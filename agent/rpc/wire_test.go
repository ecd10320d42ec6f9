package rpc_test

import (
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/dynod/dynod/agent/dyno"
	dynodv1 "github.com/dynod/dynod/proto/dynod/v1"
)

func TestMalformedFields(t *testing.T) {
	h := newHost(t)
	h.start(order(first, "worker.1"))
	h.phase(first, dyno.Up)
	tests := map[string]func(*dynodv1.StartDynoRequest){
		"header.trace_id":        func(o *dynodv1.StartDynoRequest) { o.Header.TraceId = "not a trace" },
		"spec.port":              func(o *dynodv1.StartDynoRequest) { o.Spec.Port = 65536 + 5000 },
		"spec.limits.cpu_weight": func(o *dynodv1.StartDynoRequest) { o.Spec.Limits.CpuWeight = 20000 },
		"spec.limits.pids":       func(o *dynodv1.StartDynoRequest) { o.Spec.Limits.Pids = 1 },
		"spec.restart_policy.kind": func(o *dynodv1.StartDynoRequest) {
			o.Spec.RestartPolicy.Kind = 99
		},
	}
	malformed := []*durationpb.Duration{
		{Seconds: -1}, {Nanos: -1}, {Seconds: 1 << 40}, {Nanos: 2e9}, {Seconds: 1, Nanos: -1},
	}
	for field, set := range map[string]func(*dynodv1.StartDynoRequest, *durationpb.Duration){
		"spec.boot_timeout": func(o *dynodv1.StartDynoRequest, d *durationpb.Duration) { o.Spec.BootTimeout = d },
		"spec.grace":        func(o *dynodv1.StartDynoRequest, d *durationpb.Duration) { o.Spec.Grace = d },
		"spec.time_to_live": func(o *dynodv1.StartDynoRequest, d *durationpb.Duration) { o.Spec.TimeToLive = d },
		"spec.restart_policy.reset_after": func(o *dynodv1.StartDynoRequest, d *durationpb.Duration) {
			o.Spec.RestartPolicy.ResetAfter = d
		},
		"spec.restart_policy.delays": func(o *dynodv1.StartDynoRequest, d *durationpb.Duration) {
			o.Spec.RestartPolicy.Delays = append(o.Spec.RestartPolicy.Delays, d)
		},
	} {
		for _, d := range malformed {
			tests[field+": "+d.String()] = func(o *dynodv1.StartDynoRequest) { set(o, d) }
		}
	}
	for _, at := range []*timestamppb.Timestamp{{Seconds: 1 << 40}, {Seconds: -1 << 40}, {Nanos: -1}, {Nanos: 2e9}} {
		tests["header.not_after: "+at.String()] = func(o *dynodv1.StartDynoRequest) { o.Header.NotAfter = at }
		tests["spec.metadata.release_created_at: "+at.String()] = func(o *dynodv1.StartDynoRequest) { o.Spec.Metadata.ReleaseCreatedAt = at }
	}
	for name, spoil := range tests {
		field, _, _ := strings.Cut(name, ": ")
		t.Run(name, func(t *testing.T) {
			o := fullSlug(second)
			spoil(o)
			_, err := h.StartDyno(limited(t), o)
			wantViolations(t, err, field)
		})
	}
}

func TestMalformedFieldsAreNamedTogether(t *testing.T) {
	h := newHost(t)
	o := fullSlug(first)
	o.Header.NotAfter = &timestamppb.Timestamp{Nanos: -1}
	o.Spec.Grace, o.Spec.Port = durationpb.New(-1), 70000
	o.Spec.Metadata.ReleaseCreatedAt = &timestamppb.Timestamp{Nanos: -1}
	_, err := h.StartDyno(limited(t), o)
	wantViolations(t, err, "header.not_after", "spec.grace", "spec.metadata.release_created_at", "spec.port")
}

func TestMalformedOtherRequests(t *testing.T) {
	h := newHost(t)
	h.start(order(first, "worker.1"))
	h.phase(first, dyno.Up)
	ctx, minus := limited(t), durationpb.New(-time.Second)
	header := &dynodv1.OrderHeader{DynoId: first, Generation: 1}

	_, err := h.StopDyno(ctx, &dynodv1.StopDynoRequest{Header: header, Grace: minus})
	wantViolations(t, err, "grace")
	_, err = h.StopDyno(ctx, &dynodv1.StopDynoRequest{Header: header, Reason: "a\nb"})
	wantViolations(t, err, "reason")
	_, err = h.CordonHost(ctx, &dynodv1.CordonHostRequest{Reason: strings.Repeat("x", 201)})
	wantViolations(t, err, "reason")
	for _, grace := range []*durationpb.Duration{minus, durationpb.New(2 * time.Hour)} {
		_, err = drain(ctx, h, &dynodv1.DrainHostRequest{Grace: grace})
		wantViolations(t, err, "grace")
	}
	_, err = logLines(ctx, h, &dynodv1.StreamLogsRequest{DynoId: first, Since: &timestamppb.Timestamp{Nanos: -1}})
	wantViolations(t, err, "since")
	for _, s := range []dynodv1.LogStream{0, 4, 257, -1} {
		_, err = logLines(ctx, h, &dynodv1.StreamLogsRequest{DynoId: first, Streams: []dynodv1.LogStream{1, s}})
		wantViolations(t, err, "streams")
		_, err = logLines(ctx, h, &dynodv1.StreamLogsRequest{DynoId: first, After: []*dynodv1.LogCursor{{Stream: s, Offset: 1}}})
		wantViolations(t, err, "after")
	}
	if h.agent.Host().Cordoned {
		t.Error("a refused request cordoned the host")
	}
	h.phase(first, dyno.Up)
}
