package agent_test

import (
	"slices"
	"syscall"
	"testing"
	"testing/synctest"

	"github.com/containerd/errdefs"

	"github.com/dynod/dynod/agent"
	"github.com/dynod/dynod/agent/dyno"
	"github.com/dynod/dynod/runtime"
)

func (h *host) exec(o agent.ExecOrder) *agent.Session {
	h.t.Helper()
	s, err := h.Exec(h.t.Context(), o)
	if err != nil {
		h.t.Fatalf("exec: %v", err)
	}
	h.t.Cleanup(s.Close)
	return s
}

func TestExec(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t)
		defer h.leave()
		h.start(order(first, "worker.1"))
		s := h.exec(agent.ExecOrder{ID: first, Words: []string{"ls"}, Attach: &dyno.Attach{}})
		p := h.runtime.Execs()[0]
		if p.Plan.Attach != nil || p.Plan.Dir != "/app" || !slices.Contains(p.Plan.Env, "KEY=value") || !slices.Contains(p.Plan.Env, "DYNO=worker.1") || p.Plan.Args[len(p.Plan.Args)-1] != "ls" {
			t.Errorf("plan: %+v", p.Plan)
		}
		if err := s.Signal(t.Context(), syscall.SIGINT); err != nil || !slices.Equal(p.Signals(), []syscall.Signal{syscall.SIGINT}) {
			t.Errorf("signal: %v %v", err, p.Signals())
		}
		p.Exit(130)
		if exit, err := s.Wait(t.Context()); err != nil || exit.Code != 130 || exit.Signal != 2 {
			t.Errorf("exit: %+v %v", exit, err)
		}
		h.phase(first, dyno.Up)

		s = h.exec(agent.ExecOrder{ID: first, Attach: &dyno.Attach{Terminal: true, Rows: 5, Columns: 6}})
		p = h.runtime.Execs()[1]
		if *p.Plan.Attach != (runtime.Attach{Terminal: true, Size: runtime.WindowSize{Rows: 5, Columns: 6}}) || !slices.Contains(p.Plan.Env, "TERM=xterm") {
			t.Errorf("plan: %+v", p.Plan)
		}
		s.Close()
		<-p.Closed()
		p.Lose()
		if _, err := s.Wait(t.Context()); !errdefs.IsAborted(err) {
			t.Errorf("an end that nobody saw: %v", err)
		}
	})
}

// What the image said at the launch holds for further commands, under the next agent too.
func TestExecInAnImage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t)
		h.runtime.Prepared(runtime.Prepared{Env: []string{"PATH=/opt/bin", "FROM=image"}, Dir: "/srv", Cmd: []string{"serve"}})
		o := order(first, "worker.1")
		o.Spec.Artifact, o.Spec.Command, o.Spec.Secret.SlugURL = dyno.Artifact{Image: "img:1"}, dyno.Command{}, ""
		h.start(o)
		h.phase(first, dyno.Up)
		h.leave()
		h.arrive()
		h.exec(agent.ExecOrder{ID: first, Attach: &dyno.Attach{}})
		plan := h.runtime.Execs()[0].Plan
		if plan.Dir != "/srv" || !slices.Contains(plan.Env, "FROM=image") || !slices.Contains(plan.Env, "PATH=/opt/bin") || !slices.Contains(plan.Env, "KEY=value") || !slices.Equal(plan.Args, []string{"/bin/sh"}) {
			t.Errorf("plan: %+v", plan)
		}
		h.leave()
	})
}

func TestRefusedExecs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t)
		defer h.leave()
		exec := func(words ...string) error {
			_, err := h.Exec(t.Context(), agent.ExecOrder{ID: first, Words: words, Attach: &dyno.Attach{}})
			return err
		}
		if err := exec(); !errdefs.IsNotFound(err) {
			t.Errorf("unknown: %v", err)
		}
		release := h.runtime.Hold("Prepare")
		h.start(order(first, "worker.1"))
		if err := exec(); !errdefs.IsFailedPrecondition(err) {
			t.Errorf("not started yet: %v", err)
		}
		release()
		h.phase(first, dyno.Up)
		if err := exec("a\x00"); !errdefs.IsInvalidArgument(err) {
			t.Errorf("a word that is none: %v", err)
		}
		h.runtime.Fail("Exec", &runtime.LaunchError{Reason: "no such file"})
		s := h.exec(agent.ExecOrder{ID: first, Words: []string{"nothing"}, Attach: &dyno.Attach{}})
		if exit, err := s.Wait(t.Context()); err != nil || exit.Code != 127 || s.Reason != "no such file" {
			t.Errorf("a command that is none: %+v %v %q", exit, err, s.Reason)
		}
		h.runtime.Fail("Exec", errdefs.ErrNotFound)
		if err := exec(); !errdefs.IsFailedPrecondition(err) {
			t.Errorf("just ended: %v", err)
		}
		h.runtime.Exit(first, runtime.Exit{Code: 1})
		h.phase(first, dyno.Crashed)
		if err := exec(); !errdefs.IsFailedPrecondition(err) {
			t.Errorf("ended: %v", err)
		}
	})
}
