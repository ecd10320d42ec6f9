package rpc

import (
	"bytes"
	"context"
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/expfmt"

	dynodv1 "github.com/dynod/dynod/proto/dynod/v1"
)

func (s *service) GetMetrics(context.Context, *dynodv1.GetMetricsRequest) (*dynodv1.GetMetricsResponse, error) {
	text, err := exposition(s.metrics)
	if err != nil {
		return nil, fmt.Errorf("gather metrics: %w", err)
	}
	return &dynodv1.GetMetricsResponse{Text: text}, nil
}

// exposition is all metrics in Prometheus' text format.
func exposition(from prometheus.Gatherer) (string, error) {
	families, err := from.Gather()
	if err != nil {
		return "", err
	}
	var text bytes.Buffer
	to := expfmt.NewEncoder(&text, expfmt.NewFormat(expfmt.TypeTextPlain))
	for _, f := range families {
		if err := to.Encode(f); err != nil {
			return "", err
		}
	}
	return text.String(), nil
}
