package main

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"

	"github.com/dynod/dynod/agent"
	"github.com/dynod/dynod/agent/agenttest"
	"github.com/dynod/dynod/agent/dyno"
	"github.com/dynod/dynod/agent/rpc"
	"github.com/dynod/dynod/agent/rpc/transport"
	"github.com/dynod/dynod/agent/state"
)

// host is one simulated host.
type host struct {
	number int
	conn   *grpc.ClientConn
	agent  *agent.Agent
	report *rpc.Reporter
}

// newHost makes one with its files below dir, which is on tmpfs.
func newHost(number int, s Settings, address, dir string, files transport.TLSFiles) (*host, error) {
	tls, err := transport.ClientTLS(files, "plane")
	if err != nil {
		return nil, err
	}
	h := &host{number: number}
	if h.conn, err = transport.Dial(address, transport.DialOptions{TLS: tls, UserAgent: "fleet"}); err != nil {
		return nil, err
	}
	own := filepath.Join(dir, h.name())
	store, err := state.Open(filepath.Join(own, "state"), filepath.Join(own, "secrets"))
	if err != nil {
		return nil, err
	}
	parts := agent.Parts{
		Runtime: agenttest.NewRuntime(), Network: agenttest.NewNetwork(), Logs: agenttest.NewLogs(), Rendezvous: agenttest.NewRendezvous(),
		Store: store, Log: slog.New(slog.DiscardHandler),
	}
	h.agent = agent.New(parts, agent.Config{
		Host: h.name(), Version: "fleet", BootID: "boot", Slots: s.Dynos, Memory: 64 << 30, KeepFinished: time.Hour, Upstream: address, AwaitReports: true,
		Defaults: dyno.Defaults{
			Sizes: map[string]dyno.Limits{"standard-1x": {Memory: 512 << 20, CPUWeight: 100, Pids: 256, Files: 1000}},
			Size:  "standard-1x", Port: 5000, BootTimeout: time.Minute, Grace: 30 * time.Second,
			Sources: dyno.Sources{Stacks: []string{"small"}},
		},
	})
	h.report = &rpc.Reporter{Agent: h.agent, Upstream: h.conn, Heartbeat: s.Heartbeat, Log: parts.Log}
	return h, nil
}

func (h *host) name() string { return fmt.Sprintf("host-%05d", h.number) }

func (h *host) dyno(n int) string {
	return fmt.Sprintf("f1ee7000-0000-4000-8000-%06d%06d", h.number, n)
}

// run leads agent and client until ctx ends.
func (h *host) run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return h.agent.Run(ctx) })
	group.Go(func() error { return h.report.Run(ctx) })
	return group.Wait()
}

// start starts its dynos.
func (h *host) start(ctx context.Context, dynos int) error {
	select {
	case <-h.agent.Ready():
	case <-ctx.Done():
		return ctx.Err()
	}
	for n := range dynos {
		spec := dyno.Spec{
			App: "shop", Name: fmt.Sprintf("worker.%d", n+1), Command: dyno.Command{Line: "bin/worker --queue default"},
			Artifact: dyno.Artifact{Stack: "small", SHA256: strings.Repeat("a", 64)},
			Secret:   dyno.Secret{SlugURL: "https://slugs.example/1"},
		}
		if _, err := h.agent.Start(ctx, agent.StartOrder{ID: h.dyno(n), Generation: 1, Spec: spec}); err != nil {
			return fmt.Errorf("%s: %w", h.name(), err)
		}
	}
	return nil
}
