package meter_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.opentelemetry.io/otel/codes"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"github.com/dynod/dynod/agent/dyno"
	"github.com/dynod/dynod/agent/meter"
)

// A dyno crashes, starts again, is stopped, and a stop order that comes before its command ran finds the old exit.
func TestLives(t *testing.T) {
	reg := prometheus.NewRegistry()
	m := meter.New(reg, nil)
	r10 := &dyno.Exit{Error: dyno.R10}
	stop := &dyno.Stop{At: time.Now(), Sent: true}
	lives := []dyno.Record{
		{},
		{Phase: dyno.Starting},
		{Phase: dyno.Starting, Lives: 1},
		{Phase: dyno.Crashed, Exit: r10},
		{Phase: dyno.Starting, Exit: r10},
		{Phase: dyno.Stopping, Exit: r10, Stop: stop},
		{Phase: dyno.Down, Exit: r10, Stop: stop},
	}
	for i := range lives[1:] {
		m.Moved(lives[i], lives[i+1])
	}
	m.Moved(dyno.Record{Phase: dyno.Crashed}, dyno.Record{Phase: dyno.Down}) // its life ended before
	m.Said("Error R14 (Memory quota exceeded)")
	m.Said("Error R1 (none of ours)")
	m.Said("it says Error R14 (x)")
	want := `
# HELP dynod_ends_total Lives of dynos that ended, by the phase that followed and by the error code, empty where none applies.
# TYPE dynod_ends_total counter
dynod_ends_total{code="",phase="complete"} 0
dynod_ends_total{code="",phase="crashed"} 0
dynod_ends_total{code="",phase="down"} 1
dynod_ends_total{code="R10",phase="crashed"} 1
# HELP dynod_starts_total Lives of dynos that began: by an order, or as a restart after a crash.
# TYPE dynod_starts_total counter
dynod_starts_total{kind="order"} 1
dynod_starts_total{kind="restart"} 1
`
	if err := testutil.GatherAndCompare(reg, strings.NewReader(want), "dynod_ends_total", "dynod_starts_total"); err != nil {
		t.Error(err)
	}
	for name, want := range map[string]int{"dynod_stop_seconds": 1, "dynod_errors_total": len(dyno.ErrorCodes)} {
		if got, err := testutil.GatherAndCount(reg, name); got != want || err != nil {
			t.Errorf("%s: %d, %v; want %d", name, got, err, want)
		}
	}
}

func TestTracesOfLives(t *testing.T) {
	kept := tracetest.NewInMemoryExporter()
	tracer := sdk.NewTracerProvider(sdk.WithSyncer(kept)).Tracer("")
	m := meter.New(nil, tracer)
	call, span := tracer.Start(t.Context(), "StartDyno")
	ctx := meter.TraceOf(call)(t.Context())
	span.End()

	first := m.Life(ctx, "a", 0)
	m.Begin(first, meter.Create)(new(error))
	failed := errors.New("a secret")
	m.Begin(first, meter.Start)(&failed)
	m.Booted(first, time.Now().Add(-time.Minute))
	m.Begin(m.Life(ctx, "a", 1), meter.Create)(new(error))
	m.Begin(m.Life(t.Context(), "a", 0), meter.Create)(new(error)) // of an agent that came anew

	spans := kept.GetSpans()
	if len(spans) != 8 {
		t.Fatalf("%d spans: %v", len(spans), spans)
	}
	order := spans[0].SpanContext
	for _, s := range spans[1:4] {
		if s.Parent.SpanID() != order.SpanID() {
			t.Errorf("%s is below %v", s.Name, s.Parent)
		}
	}
	if got := spans[2].Status; got.Code != codes.Error || got.Description != "" {
		t.Errorf("a phase that failed: %v", got)
	}
	if took := spans[3].EndTime.Sub(spans[3].StartTime); took < time.Minute {
		t.Errorf("boot took %s", took)
	}
	for i, links := range map[int]int{4: 1, 6: 0} {
		root, phase := spans[i], spans[i+1]
		if root.Parent.IsValid() || root.SpanContext.TraceID() == order.TraceID() || len(root.Links) != links {
			t.Errorf("a later life: %v, links %v", root.Parent, root.Links)
		}
		if phase.Parent.SpanID() != root.SpanContext.SpanID() {
			t.Errorf("a phase of a later life is below %v", phase.Parent)
		}
	}
	if links := spans[4].Links; len(links) == 1 && links[0].SpanContext.SpanID() != order.SpanID() {
		t.Errorf("linked to %v, not to %v", links[0], trace.SpanContext{})
	}
}
