package e2e_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protojson"

	dynodv1 "github.com/dynod/dynod/proto/dynod/v1"
	"github.com/dynod/dynod/test/rig"
)

// reported is the newest state of the host as the control plane keeps it.
func (s *stage) reported() *dynodv1.ReportRequest {
	data, err := os.ReadFile(filepath.Join(s.Lab.Dir(), "plane", "hosts", "lab.json"))
	report := &dynodv1.ReportRequest{}
	if err == nil {
		err = protojson.Unmarshal(data, report)
	}
	if err != nil && !os.IsNotExist(err) {
		s.t.Fatal(err)
	}
	return report
}

func (s *stage) awaitReport(what string, ok func(*dynodv1.ReportRequest) bool) {
	s.t.Helper()
	if err := rig.Await(s.t.Context(), what, func() (bool, error) { return ok(s.reported()), nil }); err != nil {
		s.t.Fatalf("%v; reported is %v", err, s.reported())
	}
}

// The control plane hears of the host and of every dyno, also over its own absence, and of an end until it has said so.
func TestReports(t *testing.T) {
	s := open(t, "[defaults]\nkeep_finished = \"0s\"\n")
	s.await(s.start(s.order(1, "worker.1", "./web worker")), up)
	s.awaitReport("the dyno to be reported up", func(r *dynodv1.ReportRequest) bool {
		return len(r.GetDynos()) == 1 && r.GetDynos()[0].GetPhase() == up && r.GetDynos()[0].GetPid() != 0
	})
	host := s.reported().GetHost()
	if host.GetName() != "lab" || host.GetBootId() == "" || !host.GetContainerdReachable() ||
		host.GetFree().GetDynos() != host.GetCapacity().GetDynos()-1 || host.GetFree().GetMemoryBytes() >= host.GetCapacity().GetMemoryBytes() {
		t.Errorf("host: %v", host)
	}
	s.check(s.StopPlane())
	s.stop(id(1))
	s.await(id(1), down) // and kept, for nobody has acknowledged it
	s.check(s.StartPlane())
	s.awaitReport("the end to be reported and the dyno to be forgotten", func(r *dynodv1.ReportRequest) bool {
		return len(r.GetDynos()) == 0
	})
	s.forgotten()
	if lines := s.output(id(1), "platform", "State changed from up to down"); len(lines) == 0 {
		t.Error("no platform lines")
	}
}

// SIGTERM ends the agent and no dyno.
func TestOrderlyEndLeavesDynosRunning(t *testing.T) {
	s := open(t, "")
	dyno := s.start(s.order(1, "worker.1", "./web worker", env("LINES", "500")))
	pid := s.await(dyno, up).GetPid()
	s.output(dyno, "stdout", "seq=100")
	if err := s.StopAgent(); err != nil {
		t.Errorf("the agent's end: %v", err)
	}
	if _, err := os.Stat(fmt.Sprintf("/proc/%d/exe", pid)); err != nil {
		t.Fatalf("the dyno ended with it: %v", err)
	}
	s.check(s.StartAgent(t.Context()))
	if d := s.await(dyno, up); d.GetPid() != pid {
		t.Errorf("process %d, it was %d", d.GetPid(), pid)
	}
	s.stop(dyno)
	s.await(dyno, down)
	s.sequence(dyno)
}

// What nobody has a record of is removed when the agent starts.
func TestStrangersAreSwept(t *testing.T) {
	s := open(t, "[network]\npool = 0\n")
	before := must(s.Lab.Snapshot(t.Context()))(t)
	s.await(s.start(s.order(1, "worker.1", "./web worker")), up)
	s.check(s.KillAgent())
	s.check(os.Remove(filepath.Join(s.Lab.Dir(), "state", "records", id(1)+".json")))
	s.check(os.Remove(filepath.Join(s.Lab.Run(), "d", "secrets", id(1)+".json")))
	s.check(s.StartAgent(t.Context()))
	leaks := must(s.Lab.Leaks(t.Context(), before))(t)
	kept := []string{"/state/slugs/", "/state/used/", "capture", "/holes ", "snapshot: View"} // for the next dyno
	leaks = slices.DeleteFunc(leaks, func(leak string) bool {
		return slices.ContainsFunc(kept, func(part string) bool { return strings.Contains(leak, part) })
	})
	if len(leaks) > 0 {
		t.Errorf("left:\n%s", strings.Join(leaks, "\n"))
	}
}

func TestLogsByTheTool(t *testing.T) {
	s := open(t, "")
	dyno := s.start(s.order(1, "run.1", "echo first; echo second; echo bad >&2", oneOff))
	s.await(dyno, complete)
	all, err := s.Ctl(t.Context(), "logs", "-f", dyno) // ends by itself: the dyno has
	s.check(err)
	for _, want := range []string{" app[run.1]: first\n", " app[run.1]: bad\n", " heroku[run.1]: Process exited with status 0\n"} {
		if !strings.Contains(all, want) {
			t.Errorf("%q is missing in:\n%s", want, all)
		}
	}
	last, err := s.Ctl(t.Context(), "logs", "-n", "1", dyno)
	s.check(err)
	if !strings.HasSuffix(last, " heroku[run.1]: State changed from up to complete\n") || strings.Count(last, "\n") != 1 {
		t.Errorf("the last line: %q", last)
	}
	none, err := s.Ctl(t.Context(), "logs", "--since", "2100-01-01T00:00:00Z", dyno)
	s.check(err)
	if none != "" {
		t.Errorf("lines of the future: %q", none)
	}
}
