package e2e_test

import (
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/dynod/dynod/test/rig"
)

const scrapeAddress = "127.0.0.1:9476"

// scraped are metrics by name.
type scraped map[string]*dto.MetricFamily

func (s *stage) scrape() scraped {
	s.t.Helper()
	req, err := http.NewRequestWithContext(s.t.Context(), http.MethodGet, "http://"+scrapeAddress+"/metrics", nil)
	s.check(err)
	answer, err := s.Lab.Client(s.Lab.Host()).Do(req)
	s.check(err)
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		s.t.Fatalf("scrape: %s", answer.Status)
	}
	return parsed(s.t, answer.Body)
}

func parsed(t *testing.T, text io.Reader) scraped {
	t.Helper()
	parser := expfmt.NewTextParser(model.LegacyValidation)
	return must(parser.TextToMetricFamilies(text))(t)
}

// sum adds up the values, or observations, of the metrics that have the label's value; no label: of all.
func (m scraped) sum(name string, label ...string) (sum float64) {
	for _, one := range m[name].GetMetric() {
		fits := func(l *dto.LabelPair) bool { return l.GetName() == label[0] && l.GetValue() == label[1] }
		if len(label) == 0 || slices.ContainsFunc(one.GetLabel(), fits) {
			sum += one.GetGauge().GetValue() + one.GetCounter().GetValue() + float64(one.GetHistogram().GetSampleCount())
		}
	}
	return sum
}

// Every phase of a start is timed, and every life that begins is seen to end.
func TestMetrics(t *testing.T) {
	s := open(t, "[metrics]\nlisten = \""+scrapeAddress+"\"\n")
	s.await(s.start(s.order(1, "web.1", "./web web")), up)
	if _, exit := s.run(2, "echo said"); exit.GetCode() != 0 {
		t.Errorf("exit: %v", exit)
	}
	m := s.scrape()
	for _, phase := range []string{"order", "network", "logs", "artifact", "create", "start", "launch", "boot"} {
		if m.sum("dynod_start_phase_seconds", "phase", phase) == 0 {
			t.Errorf("no phase %s was timed", phase)
		}
	}
	if m.sum("dynod_start_seconds") != 2 || m.sum("dynod_starts_total", "kind", "order") != 2 || m.sum("dynod_dynos", "phase", "up") != 1 {
		t.Errorf("two starts: %v %v %v", m["dynod_start_seconds"], m["dynod_starts_total"], m["dynod_dynos"])
	}
	s.check(rig.Await(t.Context(), "all places but one to be free", func() (bool, error) {
		m = s.scrape()
		return m.sum("dynod_free_places") == m.sum("dynod_places")-1, nil
	}))
	s.stop(id(1))
	s.await(id(1), down)
	s.check(rig.Await(t.Context(), "lines to be delivered", func() (bool, error) {
		m = s.scrape()
		return m.sum("dynod_log_backlog_bytes") == 0 && m.sum("dynod_log_delivered_lines_total", "sink", "upstream") > 0, nil
	}))
	if m.sum("dynod_ends_total") != m.sum("dynod_starts_total") || m.sum("dynod_stop_seconds") != 1 {
		t.Errorf("ends: %v of %v; stops: %v", m["dynod_ends_total"], m["dynod_starts_total"], m["dynod_stop_seconds"])
	}
	for name, want := range map[string]float64{
		"dynod_ready": 1, "dynod_containerd_reachable": 1, "dynod_upstream_connected": 1, "dynod_log_capture_connected": 1, "dynod_cordoned": 0,
	} {
		if got := m.sum(name); got != want || m[name] == nil {
			t.Errorf("%s is %v, want %v", name, got, want)
		}
	}
	told := parsed(t, strings.NewReader(must(s.Ctl(t.Context(), "metrics"))(t)))
	for name := range m {
		if told[name] == nil && !strings.HasPrefix(name, "go_") && !strings.HasPrefix(name, "promhttp_") {
			t.Errorf("dynoctl metrics has no %s", name)
		}
	}
	for name := range s.watched() {
		if m[name] == nil {
			t.Errorf("alerts or dashboard ask for %s, which there is not", name)
		}
	}
	for name, family := range m {
		if text := family.String(); strings.Contains(text, "e2e00000") {
			t.Errorf("%s names a dyno: %s", name, text)
		}
	}
}

// watched are the metrics that the alerts and the dashboard ask for.
func (s *stage) watched() map[string]bool {
	s.t.Helper()
	names := map[string]bool{}
	for _, file := range []string{"alerts/dynod.yml", "dashboards/dynod.json"} {
		text := must(os.ReadFile(filepath.Join("../../packaging", file)))(s.t)
		for _, name := range regexp.MustCompile(`\b(dynod|process)_[a-z_]+`).FindAllString(string(text), -1) {
			names[regexp.MustCompile(`_(bucket|sum|count)$`).ReplaceAllString(name, "")] = true
		}
	}
	return names
}
