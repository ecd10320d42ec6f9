package scrape_test

import (
	"context"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	dto "github.com/prometheus/client_model/go"

	"github.com/dynod/dynod/agent"
	"github.com/dynod/dynod/agent/agenttest"
	"github.com/dynod/dynod/agent/dyno"
	"github.com/dynod/dynod/agent/meter"
	"github.com/dynod/dynod/agent/rpc"
	"github.com/dynod/dynod/agent/scrape"
	"github.com/dynod/dynod/logs"
	"github.com/dynod/dynod/network"
	"github.com/dynod/dynod/runtime"
)

var write = flag.Bool("write", false, "write docs/metrics.md instead of comparing it")

const page = "../../docs/metrics.md"

type quietNetwork struct{}

func (quietNetwork) Counts() network.Counts { return network.Counts{Ahead: 3} }

func (quietNetwork) Denied() (map[string]uint64, error) { return map[string]uint64{"metadata": 7}, nil }

type quietRuntime struct{}

func (quietRuntime) Counts() runtime.Counts { return runtime.Counts{Cold: 2, Warm: 9} }

type quietLogs struct{}

func (quietLogs) Account() logs.Account {
	return logs.Account{Connected: true, Sinks: map[string]logs.SinkAccount{
		logs.Upstream: {SinkStats: logs.SinkStats{Lines: 5}, Oldest: time.Now().Add(-time.Minute)}, logs.Syslog: {},
	}}
}

// everything is a registry with all metrics of an agent, and some values.
func everything(t *testing.T) *prometheus.Registry {
	t.Helper()
	reg := prometheus.NewRegistry()
	m := meter.New(reg, nil)
	m.Moved(dyno.Record{}, dyno.Record{Phase: dyno.Starting})
	rpc.NewCalls(reg)
	a := agent.New(agent.Parts{
		Runtime: agenttest.NewRuntime(), Network: agenttest.NewNetwork(), Logs: agenttest.NewLogs(), Meter: m, Log: slog.New(slog.DiscardHandler),
	}, agent.Config{Version: "1.2.3", Slots: 4, Memory: 1 << 30, Upstream: "plane:1"})
	scrape.Register(reg, scrape.Sources{Agent: a, Runtime: quietRuntime{}, Network: quietNetwork{}, Logs: quietLogs{}, Disks: map[string]string{"state": t.TempDir(), "gone": "/nonexistent"}})
	return reg
}

func TestLint(t *testing.T) {
	problems, err := testutil.GatherAndLint(everything(t))
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
}

func TestValues(t *testing.T) {
	text := string(fetch(t, everything(t)))
	for _, line := range []string{
		`dynod_build_info{goversion="`, `version="1.2.3"} 1`,
		`dynod_starts_total{kind="order"} 1`, `dynod_starts_total{kind="restart"} 0`,
		`dynod_dynos{phase="up"} 0`, `dynod_created_total{kind="warm"} 9`, `dynod_places 4`, `dynod_free_places 4`, `dynod_networks_ahead 3`,
		`dynod_network_denied_packets_total{rule="metadata"} 7`,
		`dynod_log_delivered_lines_total{sink="upstream"} 5`, `dynod_log_lag_seconds{sink="syslog"} 0`, `dynod_log_lag_seconds{sink="upstream"} 6`,
		`dynod_upstream_acknowledged_timestamp_seconds 0`, `dynod_ready 0`, `dynod_errors_total{code="R14"} 0`,
		`dynod_disk_free_bytes{disk="state"}`, `dynod_calls_total{code="OK",method="StartDyno"} 0`, `go_goroutines`, `process_resident_memory_bytes`,
	} {
		if !strings.Contains(text, line) {
			t.Errorf("no %s in\n%s", line, text)
		}
	}
	if strings.Contains(text, `disk="gone"`) {
		t.Error("a disk that does not answer has values")
	}
}

// fetch scrapes over HTTP.
func fetch(t *testing.T, reg *prometheus.Registry) []byte {
	t.Helper()
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, leave := context.WithCancel(t.Context())
	served := make(chan error)
	go func() { served <- scrape.Serve(ctx, lis, reg, slog.New(slog.DiscardHandler)) }()
	answer, err := http.Get("http://" + lis.Addr().String() + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil || answer.StatusCode != http.StatusOK {
		t.Fatalf("%s, %v: %s", answer.Status, err, text)
	}
	leave()
	if err := <-served; err != nil {
		t.Error(err)
	}
	return text
}

const head = `# Metrics

<!-- Written by "go test ./agent/scrape -write". -->

What the agent tells Prometheus: at ` + "`GET /metrics`" + ` of the address in ` + "`metrics.listen`" + `, and to ` + "`dynoctl metrics`" + `. No metric names a
dyno. Those of Go and of the process (` + "`go_`, `process_`" + `) are there as well. A dashboard for Grafana and rules for
alerts are in ` + "`/usr/share/dynod`" + `. Traces go to the collector that ` + "`OTEL_EXPORTER_OTLP_ENDPOINT`" + ` names in the agent's
environment, over gRPC: each start order has a span, and below it one for each of its phases.

| metric | type | labels | meaning |
|---|---|---|---|
`

// TestPage holds docs/metrics.md to what there is.
func TestPage(t *testing.T) {
	families, err := everything(t).Gather()
	if err != nil {
		t.Fatal(err)
	}
	want := head
	for _, f := range families {
		if strings.HasPrefix(f.GetName(), "dynod_") {
			want += fmt.Sprintf("| `%s` | %s | %s | %s |\n", f.GetName(), strings.ToLower(f.GetType().String()), labels(f), f.GetHelp())
		}
	}
	if *write {
		if err := os.WriteFile(page, []byte(want), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Errorf("go test ./agent/scrape -write would change:\n%s", diff)
	}
}

func labels(f *dto.MetricFamily) string {
	names := map[string]bool{}
	for _, m := range f.GetMetric() {
		for _, l := range m.GetLabel() {
			names[l.GetName()] = true
		}
	}
	return strings.Join(slices.Sorted(maps.Keys(names)), ", ")
}
