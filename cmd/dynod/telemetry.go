package main

import (
	"context"
	"fmt"
	"log/slog"
	"net"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/dynod/dynod/agent"
	"github.com/dynod/dynod/agent/meter"
	"github.com/dynod/dynod/agent/rpc"
	"github.com/dynod/dynod/agent/scrape"
	"github.com/dynod/dynod/cmd/dynod/config"
)

// telemetry is what operators see of the agent: its metrics, and traces where a collector is named.
type telemetry struct {
	registry *prometheus.Registry
	meter    *meter.Meter
	traces   *traces
	lis      net.Listener // nil: metrics are told to callers of the API alone
	log      *slog.Logger
}

func openTelemetry(ctx context.Context, cfg config.Config, log *slog.Logger) (t telemetry, err error) {
	t.registry, t.log = prometheus.NewRegistry(), log
	if t.traces, err = openTraces(ctx, cfg.HostName, log); err != nil {
		return t, err
	}
	t.meter = meter.New(t.registry, t.traces.tracer())
	if cfg.Metrics.Listen == "" {
		return t, nil
	}
	if t.lis, err = net.Listen("tcp", cfg.Metrics.Listen); err != nil {
		return t, fmt.Errorf("listen for scrapes: %w", err)
	}
	return t, nil
}

// watch has the parts read at every scrape, and says what servers need to take part.
func (t telemetry) watch(cfg config.Config, a *agent.Agent, p parts) rpc.ServerParts {
	scrape.Register(t.registry, scrape.Sources{
		Agent: a, Runtime: p.runtime, Network: p.network, Logs: p.logs, Disks: map[string]string{"state": cfg.StateDir, "spool": cfg.SpoolDir},
	})
	return rpc.ServerParts{Agent: a, Calls: rpc.NewCalls(t.registry), Metrics: t.registry, Traces: t.traces.handler(), Log: t.log}
}

// run ends with ctx, when the last traces have gone.
func (t telemetry) run(ctx context.Context) error {
	defer t.traces.close()
	if t.lis != nil {
		return scrape.Serve(ctx, t.lis, t.registry, t.log)
	}
	<-ctx.Done()
	return nil
}
