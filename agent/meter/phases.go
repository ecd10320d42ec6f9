package meter

import (
	"context"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"
)

// Phase is a part of a start.
type Phase string

// The phases. Network and Artifact are side by side, Logs beside all before Launch, and in a dyno's first life all of these
// beside Order; the others are one after the other.
const (
	Order    Phase = "order"    // admitted and made durable
	Network  Phase = "network"  // set up, or one made ahead taken
	Logs     Phase = "logs"     // pipes made, and held by the log holder
	Artifact Phase = "artifact" // brought to the host, or found there
	Create   Phase = "create"   // root file system, container and task
	Start    Phase = "start"    // dyno-init runs
	Launch   Phase = "launch"   // the command runs
	Boot     Phase = "boot"     // from Launch's begin on, until a web dyno listens on $PORT
)

// Phases are all of them.
var Phases = []Phase{Order, Network, Logs, Artifact, Create, Start, Launch, Boot}

// Begin begins a phase, which ends with the call of what it returns; one that failed is not counted.
func (m *Meter) Begin(ctx context.Context, p Phase) (end func(*error)) {
	begun := time.Now()
	_, span := m.tracer.Start(ctx, string(p))
	return func(err *error) {
		if *err != nil {
			span.SetStatus(codes.Error, "") // why is in the log: an error may quote what its maker sent
		} else {
			m.phases.WithLabelValues(string(p)).Observe(time.Since(begun).Seconds())
		}
		span.End()
	}
}

// Booted takes in that a web dyno listens, whose Launch began at a time.
func (m *Meter) Booted(ctx context.Context, begun time.Time) {
	_, span := m.tracer.Start(ctx, string(Boot), trace.WithTimestamp(begun))
	span.End()
	m.phases.WithLabelValues(string(Boot)).Observe(time.Since(begun).Seconds())
}

// Launched takes in that the command runs of a start that began at a time.
func (m *Meter) Launched(begun time.Time) { m.start.Observe(time.Since(begun).Seconds()) }

// TraceOf gives what puts another context into the trace of a call, whose own context it does not keep.
func TraceOf(call context.Context) func(context.Context) context.Context {
	order := trace.SpanContextFromContext(call)
	return func(ctx context.Context) context.Context { return trace.ContextWithSpanContext(ctx, order) }
}

// Life gives the context of one life of a dyno: the first one of an order belongs to the order's trace, every other one
// has a trace of its own with a link to that.
func (m *Meter) Life(ctx context.Context, id string, lives int) context.Context {
	order := trace.SpanContextFromContext(ctx)
	if lives == 0 && order.IsValid() {
		return ctx
	}
	options := []trace.SpanStartOption{trace.WithNewRoot(), trace.WithAttributes(attribute.String("dyno", id))}
	if order.IsValid() {
		options = append(options, trace.WithLinks(trace.Link{SpanContext: order}))
	}
	ctx, span := m.tracer.Start(ctx, "restart", options...)
	span.End()
	return ctx
}
