// Package e2e_test runs the whole of dynod against the real kernel, containerd and runc, and holds it to what the
// README promises.
package e2e_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	dynodv1 "github.com/dynod/dynod/proto/dynod/v1"
	"github.com/dynod/dynod/test/lab"
	"github.com/dynod/dynod/test/rig"
)

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
	return openIn(t, lab.New(t), config)
}

// openIn is open in a lab that is there.
func openIn(t *testing.T, l *lab.Lab, config string) *stage {
	t.Helper()
	s := &stage{t: t}
	s.slug = must(app())(t)
	s.Rig = must(rig.Start(t.Context(), l, strings.ReplaceAll(config, "$DIR", l.Dir())))(t)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the agent's log ends:\n%s", s.Tail("agent.log", `"msg":"call"`))
		}
		if err := s.Close(); err != nil {
			t.Errorf("end: %v", err)
		}
		if said := s.Races(); said != "" {
			t.Error(said)
		}
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

// id is the n-th dyno of a test.
func id(n int) string { return fmt.Sprintf("e2e00000-0000-4000-8000-%012d", n) }

// order is a start order for the test application.
func (s *stage) order(n int, name, command string, change ...rig.Change) *dynodv1.StartDynoRequest {
	return rig.SlugOrder(id(n), "e2e", name, command, s.slug.file, s.slug.sum, change...)
}

var env, oneOff = rig.Env, rig.OneOff

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
	d, err := s.AwaitPhase(s.t.Context(), id, phases...)
	s.check(err)
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
	return rig.Texts(lines, stream)
}

// run runs a command as a one-off dyno and returns what it wrote to standard output, and its exit.
func (s *stage) run(n int, command string, change ...rig.Change) ([]string, *dynodv1.Exit) {
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
