package agent_test

import (
	"context"
	"log/slog"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dynod/dynod/agent"
	"github.com/dynod/dynod/agent/agenttest"
	"github.com/dynod/dynod/agent/dyno"
	"github.com/dynod/dynod/agent/state"
)

const (
	first  = "00000000-0000-4000-8000-000000000001"
	second = "00000000-0000-4000-8000-000000000002"
)

// host is an agent on fake parts, in virtual time. Its store is real.
type host struct {
	*agent.Agent
	t                *testing.T
	runtime          *agenttest.Runtime
	network          *agenttest.Network
	logs             *agenttest.Logs
	meet             *agenttest.Rendezvous
	cloud            agent.Cloud // nil: none
	store            *state.Store
	records, secrets string // the store's directories
	config           agent.Config
	leave            func() // the agent goes away; returns when it has
}

// newHost starts an agent that is ready. It must be called inside a synctest bubble.
func newHost(t *testing.T, change ...func(*agent.Config)) *host {
	t.Helper()
	secrets, err := os.MkdirTemp("/dev/shm", "dynod-agent-") //nolint:usetesting // must lie on tmpfs
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(secrets) })
	records := t.TempDir()
	store, err := state.Open(records, secrets)
	if err != nil {
		t.Fatal(err)
	}
	h := &host{
		t: t, runtime: agenttest.NewRuntime(), network: agenttest.NewNetwork(), logs: agenttest.NewLogs(), meet: agenttest.NewRendezvous(),
		store: store, records: records, secrets: secrets,
		config: agent.Config{
			Host: "h", BootID: "boot-1", Slots: 4, RestingSlots: 4, Memory: 2 << 30, KeepFinished: time.Hour, SampleEvery: 20 * time.Second,
			Defaults: dyno.Defaults{
				Sizes: map[string]dyno.Limits{"standard-1x": {Memory: 512 << 20, R15Percent: 200, CPUWeight: 100, Pids: 256, Files: 1000}},
				Size:  "standard-1x", Port: 5000, BootTimeout: time.Minute, Grace: 30 * time.Second,
				Sources: dyno.Sources{Stacks: []string{"small"}},
			},
		},
	}
	for _, c := range change {
		c(&h.config)
	}
	h.arrive()
	return h
}

// arrive starts an agent on what is there.
func (h *host) arrive() {
	h.Agent = agent.New(agent.Parts{
		Runtime: h.runtime, Network: h.network, Logs: h.logs, Rendezvous: h.meet, Cloud: h.cloud, Store: h.store, Log: slog.New(slog.DiscardHandler),
	}, h.config)
	ctx, cancel := context.WithCancel(context.Background())
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		if err := h.Run(ctx); err != nil {
			h.t.Error(err)
		}
	}()
	h.leave = func() { cancel(); <-gone }
	synctest.Wait()
}

func order(id, name string) agent.StartOrder {
	return agent.StartOrder{ID: id, Generation: 1, Spec: dyno.Spec{
		App: "shop", Name: name, Command: dyno.Command{Line: "run"},
		Artifact: dyno.Artifact{Stack: "small", SHA256: strings.Repeat("a", 64)},
		Secret:   dyno.Secret{SlugURL: "https://slugs.example/1", Environment: map[string]string{"KEY": "value"}},
	}}
}

func (h *host) start(o agent.StartOrder) agent.Status {
	h.t.Helper()
	s, err := h.Start(h.t.Context(), o)
	if err != nil {
		h.t.Fatalf("start: %v", err)
	}
	synctest.Wait()
	return s
}

func (h *host) stop(id string, generation int64) {
	h.t.Helper()
	if _, err := h.Stop(h.t.Context(), agent.StopOrder{ID: id, Generation: generation, Grace: -1}); err != nil {
		h.t.Fatalf("stop: %v", err)
	}
	synctest.Wait()
}

func (h *host) phase(id string, want dyno.Phase) agent.Status {
	h.t.Helper()
	synctest.Wait()
	s, err := h.Get(id)
	if err != nil || s.Phase != want {
		h.t.Fatalf("phase is %q (%v), want %q", s.Phase, err, want)
	}
	return s
}

func (h *host) said(id string, want ...string) {
	h.t.Helper()
	synctest.Wait()
	if got, want := strings.Join(h.logs.Lines(id), "\n"), strings.Join(want, "\n"); got != want {
		h.t.Errorf("platform lines:\n%s\nwant:\n%s", got, want)
	}
}
