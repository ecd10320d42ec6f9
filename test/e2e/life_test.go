package e2e_test

import (
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	dynodv1 "github.com/dynod/dynod/proto/dynod/v1"
	"github.com/dynod/dynod/test/lab"
	"github.com/dynod/dynod/test/rig"
)

func TestHundredCyclesLeaveNothing(t *testing.T) {
	s := open(t, "[defaults]\nkeep_finished = \"0s\"\n[network]\npool = 0\n") // spares come and go
	cycle := func(n int) {
		dyno := s.start(s.order(n, "worker.1", "./web worker"))
		s.await(dyno, up)
		s.stop(dyno)
	}
	cycle(1000) // what is made once: the stack's layers, the slug, the log holder
	s.forgotten()
	before := must(s.Lab.Snapshot(t.Context()))(t)
	for n := range 100 {
		cycle(n)
		if n%4 == 3 { // some at once, some one by one
			s.forgotten()
		}
	}
	s.forgotten()
	if leaks := must(s.Lab.Leaks(t.Context(), before))(t); len(leaks) > 0 {
		t.Errorf("left after 100 cycles:\n%s", strings.Join(leaks, "\n"))
	}
}

// forgotten waits until the agent knows no dyno any more.
func (s *stage) forgotten() {
	s.t.Helper()
	s.check(rig.Await(s.t.Context(), "all dynos to be forgotten", func() (bool, error) {
		out, err := s.API().ListDynos(s.t.Context(), &dynodv1.ListDynosRequest{})
		return len(out.GetDynos()) == 0, err
	}))
}

func TestWebAnswersOnItsHostPort(t *testing.T) {
	s := open(t, "")
	d := s.await(s.start(s.order(1, "web.1", "./web web")), up)
	body := s.fetch(fmt.Sprintf("http://%s:%d/hello", lab.HostAddress, d.GetHostPort()))
	if !strings.Contains(body, "Hello from web.1 ("+id(1)) {
		t.Errorf("got %q", body)
	}
	lines := s.output(id(1), "stdout", `path="/hello"`)
	if len(lines) == 0 {
		t.Error("no line of the request")
	}
}

// fetch asks from outside the host.
func (s *stage) fetch(url string) string {
	s.t.Helper()
	req, err := http.NewRequestWithContext(s.t.Context(), http.MethodGet, url, nil)
	s.check(err)
	answer, err := s.Lab.Client(s.Lab.Outside()).Do(req)
	s.check(err)
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	s.check(err)
	if answer.StatusCode != http.StatusOK {
		s.t.Errorf("GET %s: %s", url, answer.Status)
	}
	return string(body)
}

func TestImageDyno(t *testing.T) {
	s := open(t, "")
	o := s.order(1, "run.1", "")
	o.Spec.Artifact = &dynodv1.Artifact{Kind: &dynodv1.Artifact_Image{Image: &dynodv1.ImageArtifact{Reference: must(lab.SmallStack(t.Context()))(t)}}}
	o.Spec.Command = &dynodv1.Command{Words: []string{"/bin/echo", "from", "an image"}}
	oneOff(o)
	s.start(o)
	if d := s.await(id(1), complete, crashed); d.GetExit().GetCode() != 0 {
		t.Errorf("exit: %v", d.GetExit())
	}
	if got := s.output(id(1), "stdout", "to complete"); !slices.Equal(got, []string{"from an image"}) {
		t.Errorf("got %q", got)
	}
}

func TestLinesOfALife(t *testing.T) {
	s := open(t, "")
	dyno := s.start(s.order(1, "worker.1", "./web ignore-term", func(o *dynodv1.StartDynoRequest) {
		o.Spec.Grace = durationpb.New(time.Second)
	}))
	s.await(dyno, up)
	s.output(dyno, "stdout", "ignoring SIGTERM")
	begun := time.Now()
	s.stop(dyno)
	d := s.await(dyno, down)
	within(t, 3*time.Second, "stop", begun)
	if d.GetExit().GetCode() != 137 || d.GetExit().GetErrorCode() != "R12" {
		t.Errorf("exit: %v", d.GetExit())
	}
	want := []string{
		"Starting process with command `./web ignore-term`", "State changed from starting to up",
		"Stopping all processes with SIGTERM",
		"Error R12 (Exit timeout) -> At least one process failed to exit within 1 seconds of SIGTERM",
		"Stopping remaining processes with SIGKILL", "Process exited with status 137", "State changed from up to down",
	}
	if got := s.output(dyno, "platform", "from up to down"); !slices.Equal(got, want) {
		t.Errorf("got:\n%s", strings.Join(got, "\n"))
	}
}

func TestBootTimeout(t *testing.T) {
	s := open(t, "")
	dyno := s.start(s.order(1, "web.1", "./web worker", func(o *dynodv1.StartDynoRequest) {
		o.Spec.BootTimeout = durationpb.New(2 * time.Second)
	}))
	if d := s.await(dyno, crashed); d.GetExit().GetErrorCode() != "R10" || d.GetExit().GetCode() != 137 {
		t.Errorf("exit: %v", d.GetExit())
	}
	got := s.output(dyno, "platform", "from starting to crashed")
	if !slices.Contains(got, "Error R10 (Boot timeout) -> Web process failed to bind to $PORT within 2 seconds of launch") {
		t.Errorf("got %q", got)
	}
}

// Every process of a dyno gets SIGTERM, not only the first.
func TestStopReachesEveryProcess(t *testing.T) {
	s := open(t, "")
	dyno := s.start(s.order(1, "worker.1", "./web fork 5"))
	s.output(dyno, "stdout", "level 1 is process")
	begun := time.Now()
	s.stop(dyno)
	if d := s.await(dyno, down); d.GetExit().GetErrorCode() != "" {
		t.Errorf("exit: %v", d.GetExit())
	}
	within(t, 5*time.Second, "stop of five processes", begun)
}

func TestChecksumMismatch(t *testing.T) {
	s := open(t, "")
	wrong := strings.Repeat("0", 64)
	dyno := s.start(s.order(1, "worker.1", "./web worker", func(o *dynodv1.StartDynoRequest) {
		o.Spec.Artifact.GetSlug().Sha256 = wrong
	}))
	if d := s.await(dyno, crashed); d.GetExit().GetErrorCode() != "R17" || d.GetLives() != 0 {
		t.Errorf("%v", d)
	}
	want := fmt.Sprintf("Error R17 (Checksum error) -> Checksum does match expected value. Expected: SHA256:%s Actual: SHA256:%s", wrong, s.slug.sum)
	if got := s.output(dyno, "platform", "to crashed"); !slices.Contains(got, want) {
		t.Errorf("got %q", got)
	}
}

func TestCrashPolicyStartsAgain(t *testing.T) {
	s := open(t, "")
	dyno := s.start(s.order(1, "worker.1", "./web crash 10ms 3", func(o *dynodv1.StartDynoRequest) {
		o.Spec.RestartPolicy = &dynodv1.RestartPolicy{Kind: dynodv1.RestartPolicy_KIND_BACKOFF, Delays: []*durationpb.Duration{durationpb.New(0), durationpb.New(time.Hour)}}
	}))
	s.check(rig.Await(t.Context(), "the second crash", func() (bool, error) {
		d := s.get(dyno)
		return d.GetLives() == 2 && d.GetNextStartAt() != nil, nil
	}))
	lines := s.output(dyno, "stdout", "State changed from crashed to starting")
	if len(lines) == 0 {
		t.Error("no output")
	}
	s.stop(dyno)
	s.await(dyno, down)
}
