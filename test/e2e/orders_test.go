package e2e_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"

	dynodv1 "github.com/dynod/dynod/proto/dynod/v1"
)

// What an operator sees of orders, by the tools and over mutual TLS.
func TestOrdersByTheTools(t *testing.T) {
	s := open(t, "[host]\nmax_dynos = 1\n")
	good := s.file("good", s.order(1, "worker.1", "./web worker"))
	other := s.file("other", s.order(1, "worker.1", "./web burst"))
	lower := s.file("lower", s.order(1, "worker.1", "./web worker", func(o *dynodv1.StartDynoRequest) { o.Header.Generation = 2 }))
	wrong := s.file("wrong", s.order(2, "worker", "./web worker"))
	stack := s.file("stack", s.order(2, "worker.1", "./web worker", func(o *dynodv1.StartDynoRequest) { o.Spec.Artifact.GetSlug().Stack = "none" }))
	second := s.file("second", s.order(2, "worker.2", "./web worker"))
	steps := []struct {
		args []string
		exit int
		says string
	}{
		{[]string{"start", "--wait", "-f", good}, 0, id(1)},
		{[]string{"start", "-f", good}, 0, id(1)},
		{[]string{"start", "-f", other}, 5, "another spec"},
		{[]string{"start", "-f", wrong}, 2, "spec.name"},
		{[]string{"start", "-f", stack}, 2, `unknown stack "none"; known: small`},
		{[]string{"start", "-f", second}, 5, "all 1 places for dynos are taken"},
		{[]string{"start", "-f", lower}, 0, id(1)},
		{[]string{"start", "-f", good}, 5, "lower than 2"},
		{[]string{"ps"}, 0, "worker.1"},
		{[]string{"stop", "--wait", "worker.1"}, 0, ""},
	}
	for _, step := range steps {
		out, err := s.Ctl(t.Context(), step.args...)
		if err != nil {
			out += err.Error()
		}
		if exitOf(err) != step.exit || !strings.Contains(out, step.says) || strings.Contains(out, "rpc error") {
			t.Errorf("dynoctl %q: exit %d, want %d, saying %q:\n%s", step.args, exitOf(err), step.exit, step.says, out)
		}
	}
}

// The same order is no other one because the host's sizes have changed.
func TestSameOrderAfterAChangeOfItsSize(t *testing.T) {
	s := open(t, "")
	o := s.order(1, "worker.1", "./web worker")
	before := s.await(s.start(o), up)
	s.check(s.StopAgent())
	file, err := os.OpenFile(filepath.Join(s.Lab.Dir(), "dynod.toml"), os.O_APPEND|os.O_WRONLY, 0)
	s.check(err)
	_, err = file.WriteString("[sizes.standard-1x]\nmemory = \"100MiB\"\n")
	s.check(errors.Join(err, file.Close()))
	s.check(s.StartAgent(t.Context()))
	s.start(o)
	if d := s.get(id(1)); d.GetPid() != before.GetPid() || d.GetLimits().GetMemoryBytes() != 512<<20 {
		t.Errorf("it was %v and is %v", before, d)
	}
	o.Spec.Command.Line = "./web burst"
	if _, err := s.API().StartDyno(t.Context(), o); status.Code(err) != codes.AlreadyExists {
		t.Errorf("another order: %v", err)
	}
}

func (s *stage) file(name string, order *dynodv1.StartDynoRequest) string {
	s.t.Helper()
	data, err := protojson.Marshal(order)
	s.check(err)
	path, err := s.OrderFile(name, data)
	s.check(err)
	return path
}

func exitOf(err error) int {
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return exit.ExitCode()
	}
	return 0
}

// A certificate of the right authority with another name may not give orders.
func TestOrdersNeedTheRightName(t *testing.T) {
	s := open(t, "")
	if _, err := s.Order(t.Context(), "list"); err != nil {
		t.Errorf("the control plane's own name: %v", err)
	}
	certs := filepath.Join(s.Lab.Dir(), "certs")
	_, err := s.Order(t.Context(), "list", "--cert", filepath.Join(certs, "agent.pem"), "--key", filepath.Join(certs, "agent-key.pem"))
	if err == nil {
		t.Error("another name was let in")
	}
	if log := s.Tail("agent.log"); !strings.Contains(log, "allow-list") {
		t.Errorf("the refusal is not in the log:\n%s", log)
	}
}
