package contender

import (
	"context"
	"fmt"
	"maps"
	"strings"

	dynodv1 "github.com/dynod/dynod/proto/dynod/v1"
)

// Phases are the seconds that the phases of all starts have taken so far, as the agent's metrics tell.
func (d *Dynod) Phases(ctx context.Context) (map[string]float64, error) {
	out, err := dynodv1.NewAgentServiceClient(d.orders).GetMetrics(ctx, &dynodv1.GetMetricsRequest{})
	if err != nil {
		return nil, err
	}
	return sums(out.GetText())
}

// sums reads the lines dynod_start_phase_seconds_sum{phase="<phase>"} <seconds>.
func sums(text string) (map[string]float64, error) {
	phases := map[string]float64{}
	for line := range strings.Lines(text) {
		rest, ok := strings.CutPrefix(line, `dynod_start_phase_seconds_sum{phase="`)
		if !ok {
			continue
		}
		name, value, _ := strings.Cut(rest, `"} `)
		var v float64
		if _, err := fmt.Sscan(value, &v); err != nil {
			return nil, fmt.Errorf("read metric %q: %w", line, err)
		}
		phases[name] = v
	}
	return phases, nil
}

// PhasesSince are the seconds since an earlier look, of phases that there were.
func (d *Dynod) PhasesSince(ctx context.Context, before map[string]float64) (map[string]float64, error) {
	now, err := d.Phases(ctx)
	for name := range now {
		now[name] -= before[name]
	}
	maps.DeleteFunc(now, func(_ string, v float64) bool { return v == 0 })
	return now, err
}
