package packages_test

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

const alerts, dashboard = "../../packaging/alerts/dynod.yml", "../../packaging/dashboards/dynod.json"

// Prometheus takes the rules, every alert comes on a host that is sick so, and none on one that is sound.
func TestAlerts(t *testing.T) {
	output(t, "promtool", "check", "rules", alerts)
	tests := filepath.Join(filepath.Dir(alerts), "dynod.test.yml")
	output(t, "promtool", "test", "rules", tests)
	tested := read(t, tests)
	for _, name := range regexp.MustCompile(`alert: (\w+)`).FindAllSubmatch(read(t, alerts), -1) {
		if !bytes.Contains(tested, []byte(`alertname="`+string(name[1])+`"`)) {
			t.Errorf("%s is not tested", name[1])
		}
	}
}

// Prometheus takes what the dashboard asks.
func TestDashboard(t *testing.T) {
	var board struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
	}
	if err := json.Unmarshal(read(t, dashboard), &board); err != nil {
		t.Fatal(err)
	}
	type rule struct {
		Record string `json:"record"`
		Expr   string `json:"expr"`
	}
	var rules []rule
	variables := strings.NewReplacer("$__rate_interval", "5m", "$instance", ".*")
	for _, p := range board.Panels {
		for _, target := range p.Targets {
			rules = append(rules, rule{"panel:" + regexp.MustCompile(`\W`).ReplaceAllString(p.Title, "_"), variables.Replace(target.Expr)})
		}
	}
	if len(rules) < 20 {
		t.Fatalf("only %d questions", len(rules))
	}
	text, err := yaml.Marshal(map[string]any{"groups": []any{map[string]any{"name": "dashboard", "rules": rules}}})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "rules.yml")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	output(t, "promtool", "check", "rules", file)
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return content
}

func TestAlertsAndDashboardAreShipped(t *testing.T) {
	want := []string{"/usr/share/dynod/alerts/dynod.yml", "/usr/share/dynod/dashboards/dynod.json"}
	inRPM := output(t, "rpm", "--query", "--list", "--package", packages(t, rpm, "x86_64")[0])
	dir := unpacked(t)
	for _, path := range want {
		if _, err := os.Stat(filepath.Join(dir, path)); err != nil {
			t.Error(err)
		}
		if !strings.Contains(inRPM, path+"\n") {
			t.Errorf("no %s in the rpm:\n%s", path, inRPM)
		}
	}
}
