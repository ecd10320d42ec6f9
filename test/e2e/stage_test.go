// Package e2e_test runs the whole of dynod against the real kernel, containerd and runc, and holds it to what the
// README promises.
package e2e_test

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	dynodv1 "github.com/dynod/dynod/proto/dynod/v1"
	"github.com/dynod/dynod/test/lab"
	"github.com/dynod/dynod/test/rig"
)

// binaries are built once for all tests.
var binaries = sync.OnceValues(func() (string, error) { return rig.Build(context.Background()) })

// app is the slug of the test application, packed once: under the race detector that takes seconds.
var app = sync.OnceValues(func() (slug, error) {
	file, sum, err := lab.AppSlug(context.Background())
	return slug{file, sum}, err
})

type slug struct{ file, sum string }

// stage is a platform with its agent up, for one test.
type stage struct {
	*rig.Rig
	t    *testing.T
	slug slug
}

// open sets the stage. config is appended to the agent's configuration; $DIR in it is the lab's directory. When the test ends, everything is gone.
func open(t *testing.T, config string) *stage {
	t.Helper()
	l := lab.New(t)
	s := &stage{t: t}
	bin := must(binaries())(t)
	stack := must(lab.SmallStack(t.Context()))(t)
	s.slug = must(app())(t)
	s.Rig = must(rig.New(t.Context(), l, bin, map[string]string{"small": stack}, strings.ReplaceAll(config, "$DIR", l.Dir())))(t)
	s.check(s.StartPlane())
	s.check(s.StartAgent(t.Context()))
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the agent's log ends:\n%s", s.Tail("agent.log", `"msg":"call"`))
		}
		if err := s.Close(); err != nil {
			t.Errorf("end: %v", err)
		}
		s.noRace()
	})
	return s
}

func must[T any](value T, err error) func(*testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return value
	}
}

func (s *stage) check(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

// noRace fails the test if the race detector of the agent or the control plane has said anything.
func (s *stage) noRace() {
	for _, name := range []string{"agent.log", "plane.log"} {
		data, err := os.ReadFile(s.Lab.Dir() + "/" + name)
		if err == nil && strings.Contains(string(data), "DATA RACE") {
			s.t.Errorf("%s tells of a data race:\n%s", name, data)
		}
	}
}

// id is the n-th dyno of a test.
func id(n int) string { return fmt.Sprintf("e2e00000-0000-4000-8000-%012d", n) }

// order is a start order for the test application.
func (s *stage) order(n int, name, command string, change ...func(*dynodv1.StartDynoRequest)) *dynodv1.StartDynoRequest {
	o := &dynodv1.StartDynoRequest{
		Header: &dynodv1.OrderHeader{DynoId: id(n), Generation: 1},
		Spec: &dynodv1.DynoSpec{
			App: "e2e", Name: name, Command: &dynodv1.Command{Line: command},
			Artifact: &dynodv1.Artifact{Kind: &dynodv1.Artifact_Slug{Slug: &dynodv1.SlugArtifact{Url: "file://" + s.slug.file, Sha256: s.slug.sum, Stack: "small"}}},
		},
	}
	for _, c := range change {
		c(o)
	}
	return o
}

func env(name, value string) func(*dynodv1.StartDynoRequest) {
	return func(o *dynodv1.StartDynoRequest) {
		if o.Spec.Environment == nil {
			o.Spec.Environment = map[string]string{}
		}
		o.Spec.Environment[name] = value
	}
}

func oneOff(o *dynodv1.StartDynoRequest) { o.Spec.OneOff = true }

func (s *stage) start(o *dynodv1.StartDynoRequest) string {
	s.t.Helper()
	_, err := s.API().StartDyno(s.t.Context(), o)
	s.check(err)
	return o.GetHeader().GetDynoId()
}

func (s *stage) stop(id string) {
	s.t.Helper()
	_, err := s.API().StopDyno(s.t.Context(), &dynodv1.StopDynoRequest{Header: &dynodv1.OrderHeader{DynoId: id, Generation: 1}})
	s.check(err)
}

func (s *stage) get(id string) *dynodv1.Dyno {
	s.t.Helper()
	out, err := s.API().GetDyno(s.t.Context(), &dynodv1.GetDynoRequest{DynoId: id})
	s.check(err)
	return out.GetDyno()
}

// await waits until the dyno is in one of the phases.
func (s *stage) await(id string, phases ...dynodv1.Phase) *dynodv1.Dyno {
	s.t.Helper()
	var d *dynodv1.Dyno
	err := rig.Await(s.t.Context(), fmt.Sprintf("dyno %s to be %v", id, phases), func() (bool, error) {
		out, err := s.API().GetDyno(s.t.Context(), &dynodv1.GetDynoRequest{DynoId: id})
		d = out.GetDyno()
		return slices.Contains(phases, d.GetPhase()), err
	})
	if err != nil {
		s.t.Fatalf("%v; it is %v", err, d)
	}
	return d
}

const (
	up       = dynodv1.Phase_PHASE_UP
	down     = dynodv1.Phase_PHASE_DOWN
	crashed  = dynodv1.Phase_PHASE_CRASHED
	complete = dynodv1.Phase_PHASE_COMPLETE
)

// output is what the control plane has received of a stream once a platform line with that text is there.
func (s *stage) output(id, stream, until string) []string {
	s.t.Helper()
	lines, err := s.AwaitLine(s.t.Context(), id, until)
	s.check(err)
	var texts []string
	for _, l := range lines {
		if l.Stream == stream {
			texts = append(texts, l.Text)
		}
	}
	return texts
}

// run runs a command as a one-off dyno and returns what it wrote to standard output, and its exit.
func (s *stage) run(n int, command string, change ...func(*dynodv1.StartDynoRequest)) ([]string, *dynodv1.Exit) {
	s.t.Helper()
	dyno := s.start(s.order(n, "run.1", command, append(change, oneOff)...))
	d := s.await(dyno, complete, crashed)
	return s.output(dyno, "stdout", "State changed from up to complete"), d.GetExit()
}

func within(t *testing.T, limit time.Duration, what string, begun time.Time) {
	t.Helper()
	if took := time.Since(begun); took > limit {
		t.Errorf("%s took %s, more than %s", what, took, limit)
	}
}
