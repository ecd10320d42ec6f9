package imports_test

import (
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/dynod/dynod/test/imports"
)

func TestTheProjectKeepsTheRule(t *testing.T) {
	cmd := exec.CommandContext(t.Context(), "go", "list", "-e", "-f", `{{.ImportPath}} {{join .Imports " "}}`, imports.Module+"/...")
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	graph := map[string][]string{}
	for line := range strings.Lines(string(out)) {
		words := strings.Fields(line)
		graph[words[0]] = words[1:]
	}
	if len(graph) < 3 {
		t.Fatalf("go list found only %v", graph)
	}
	for _, broken := range imports.Broken(graph) {
		t.Error(broken)
	}
}

func TestBroken(t *testing.T) {
	for _, c := range []struct{ from, to, want string }{
		{"runtime", "network", "runtime may not import network"},
		{"network", "logs/sink", "network may not import logs/sink"},
		{"logs", "agent/dyno", "logs may not import agent/dyno"},
		{"logs/spool", "systemd", "logs/spool may not import systemd"},
		{"systemd", "agent", "systemd may not import agent"},
		{"agent", "agent/rpc", "agent may not import agent/rpc"},
		{"agent", "proto/dynod/v1", "agent may not import proto/dynod/v1"},
		{"agent", "cmd/dynod/config", "agent may not import cmd/dynod/config"},
		{"agent/state", "agent", "agent/state may not import agent"},
		{"agent/dyno", "agent/state", "agent/dyno may not import agent/state"},
		{"agent/rpc", "runtime", "agent/rpc may not import runtime"},
		{"cmd/dynod", "proto/dynod/v1", "cmd/dynod may not import proto/dynod/v1"},
		{"cmd/dynod", "test/lab", "cmd/dynod may not import test/lab"},
		{"util", "agent", "util has no rule"},
		{"runtime", "runtime/rootfs", ""},
		{"agent", "logs/spool", ""},
		{"agent/state", "agent/dyno", ""},
		{"agent/rpc", "proto/dynod/v1", ""},
		{"cmd/dynod", "agent/rpc", ""},
	} {
		graph := map[string][]string{imports.Module + "/" + c.from: {"net/http", imports.Module + "/" + c.to}}
		got := strings.ReplaceAll(strings.Join(imports.Broken(graph), "; "), imports.Module+"/", "")
		if got != c.want {
			t.Errorf("%s importing %s: %q, want %q", c.from, c.to, got, c.want)
		}
	}
}

func TestAnyoneMayImportWhatIsNotOurs(t *testing.T) {
	graph := map[string][]string{imports.Module + "/logs": {"os", "google.golang.org/grpc", "github.com/dynod/dynodx"}}
	if broken := imports.Broken(graph); !slices.Equal(broken, nil) {
		t.Errorf("broken: %q", broken)
	}
}
