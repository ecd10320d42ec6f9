package meter

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"

	"github.com/dynod/dynod/agent/dyno"
)

// Meter is safe for concurrent use.
type Meter struct {
	phases      *prometheus.HistogramVec
	start, stop prometheus.Histogram
	ping        prometheus.Histogram
	starts      *prometheus.CounterVec
	ends        *prometheus.CounterVec
	errors      *prometheus.CounterVec
	recovered   *prometheus.CounterVec
	tracer      trace.Tracer
}

// seconds are the upper bounds of all histograms, from half a millisecond to a minute.
var seconds = []float64{.0005, .001, .002, .005, .01, .02, .05, .1, .2, .5, 1, 2, 5, 10, 30, 60}

// New registers the metrics. A nil registerer: nobody sees them. A nil tracer: there are no traces.
func New(reg prometheus.Registerer, tracer trace.Tracer) *Meter {
	if tracer == nil {
		tracer = noop.NewTracerProvider().Tracer("")
	}
	to := promauto.With(reg)
	m := &Meter{
		phases: to.NewHistogramVec(histogram("dynod_start_phase_seconds", "Time that a phase of a start took, of those that succeeded."), []string{"phase"}),
		start:  to.NewHistogram(histogram("dynod_start_seconds", "Time from a start order, or from the end of a crashed dyno's pause, until the command ran. Attached dynos wait for a client: they are not in it.")),
		stop:   to.NewHistogram(histogram("dynod_stop_seconds", "Time from SIGTERM of a stop order until the dyno was down.")),
		ping:   to.NewHistogram(histogram("dynod_containerd_ping_seconds", "Time until containerd answered whether it is there, asked every few seconds.")),
		starts: to.NewCounterVec(counter("dynod_starts_total", "Lives of dynos that began: by an order, or as a restart after a crash."), []string{"kind"}),
		ends: to.NewCounterVec(counter("dynod_ends_total", "Lives of dynos that ended, by the phase that followed and by the error code, empty where none applies."),
			[]string{"phase", "code"}),
		errors:    to.NewCounterVec(counter("dynod_errors_total", "Error lines written for owners of dynos, by Heroku's code."), []string{"code"}),
		recovered: to.NewCounterVec(counter("dynod_recovered_total", "Dynos that this agent found at its start, by what it did with them."), []string{"action"}),
		tracer:    tracer,
	}
	m.begin()
	return m
}

func histogram(name, help string) prometheus.HistogramOpts {
	return prometheus.HistogramOpts{Name: name, Help: help, Buckets: seconds}
}

func counter(name, help string) prometheus.CounterOpts {
	return prometheus.CounterOpts{Name: name, Help: help}
}

// begin shows what has not happened yet as zero, so that its first time is an increase.
func (m *Meter) begin() {
	for _, p := range Phases {
		m.phases.WithLabelValues(string(p))
	}
	for _, kind := range []string{ordered, restarted} {
		m.starts.WithLabelValues(kind)
	}
	for _, phase := range []dyno.Phase{dyno.Down, dyno.Complete, dyno.Crashed} {
		m.ends.WithLabelValues(string(phase), "")
	}
	for _, code := range dyno.ErrorCodes {
		m.errors.WithLabelValues(string(code))
	}
	for action := dyno.LeaveAlone; action <= dyno.Settle; action++ {
		m.recovered.WithLabelValues(action.String())
	}
}

// Pinged takes in how long containerd took to answer.
func (m *Meter) Pinged(took time.Duration) { m.ping.Observe(took.Seconds()) }

// Recovered counts a dyno that was there when the agent came.
func (m *Meter) Recovered(action dyno.Action) { m.recovered.WithLabelValues(action.String()).Inc() }
