package rpc

import (
	"context"
	"path"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	dynodv1 "github.com/dynod/dynod/proto/dynod/v1"
)

// Calls counts and times the calls of all servers that it is given to.
type Calls struct {
	total   *prometheus.CounterVec
	seconds *prometheus.HistogramVec
	open    *prometheus.GaugeVec
}

// NewCalls registers the metrics. A nil registerer: nobody sees them.
func NewCalls(reg prometheus.Registerer) *Calls {
	to := promauto.With(reg)
	c := &Calls{
		total: to.NewCounterVec(prometheus.CounterOpts{
			Name: "dynod_calls_total", Help: "Orders and questions that have ended, by method and by the gRPC code of the answer.",
		}, []string{"method", "code"}),
		seconds: to.NewHistogramVec(prometheus.HistogramOpts{
			Name: "dynod_call_seconds", Help: "Time until a call of one answer was answered.",
			Buckets: []float64{.0005, .001, .002, .005, .01, .02, .05, .1, .5, 1, 5, 10},
		}, []string{"method"}),
		open: to.NewGaugeVec(prometheus.GaugeOpts{Name: "dynod_open_streams", Help: "Streams that callers have open."}, []string{"method"}),
	}
	c.begin()
	return c
}

// begin shows what has not been called yet as zero.
func (c *Calls) begin() {
	for _, m := range dynodv1.AgentService_ServiceDesc.Methods {
		c.total.WithLabelValues(m.MethodName, codes.OK.String())
		c.seconds.WithLabelValues(m.MethodName)
	}
	for _, s := range dynodv1.AgentService_ServiceDesc.Streams {
		c.total.WithLabelValues(s.StreamName, codes.OK.String())
		c.open.WithLabelValues(s.StreamName)
	}
}

func (c *Calls) unary(ctx context.Context, in any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
	begun, method := time.Now(), path.Base(info.FullMethod)
	out, err := next(ctx, in)
	c.seconds.WithLabelValues(method).Observe(time.Since(begun).Seconds())
	c.ended(method, err)
	return out, err
}

func (c *Calls) stream(srv any, stream grpc.ServerStream, info *grpc.StreamServerInfo, next grpc.StreamHandler) error {
	method := path.Base(info.FullMethod)
	c.open.WithLabelValues(method).Inc()
	defer c.open.WithLabelValues(method).Dec()
	err := next(srv, stream)
	c.ended(method, err)
	return err
}

func (c *Calls) ended(method string, err error) {
	c.total.WithLabelValues(method, status.Code(err).String()).Inc()
}
