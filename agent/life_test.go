package agent_test

import (
	"errors"
	"slices"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/containerd/errdefs"

	"github.com/dynod/dynod/agent"
	"github.com/dynod/dynod/agent/dyno"
	"github.com/dynod/dynod/runtime"
)

func TestWorkerLives(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t)
		defer h.leave()
		if got := h.start(order(first, "worker.1")); got.Phase != dyno.Starting {
			t.Errorf("answer: %s", got.Phase)
		}
		up := h.phase(first, dyno.Up)
		if up.HostPort != 20000 || up.PID == 0 || up.Lives != 1 || !up.Address.IsValid() {
			t.Errorf("status: %+v", up)
		}
		plan := h.runtime.Plan(first)
		if !slices.Contains(plan.Env, "KEY=value") || !slices.Contains(plan.Env, "DYNO=worker.1") || plan.Dir != "/app" {
			t.Errorf("plan: %+v", plan)
		}
		h.stop(first, 1)
		down := h.phase(first, dyno.Down)
		if down.Exit.Code != 143 || !down.Released || down.PID != 0 {
			t.Errorf("after the stop: %+v", down)
		}
		h.said(first,
			"Starting process with command `run`", "State changed from starting to up",
			"Stopping all processes with SIGTERM", "Process exited with status 143", "State changed from up to down")
	})
}

func TestWebIsUpWhenItListens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t)
		defer h.leave()
		h.start(order(first, "web.1"))
		time.Sleep(10 * time.Second)
		h.phase(first, dyno.Starting)
		h.network.Listen(first)
		time.Sleep(100 * time.Millisecond)
		h.phase(first, dyno.Up)
	})
}

func TestBootTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t)
		defer h.leave()
		h.start(order(first, "web.1"))
		time.Sleep(59 * time.Second)
		h.phase(first, dyno.Starting)
		time.Sleep(2 * time.Second)
		crashed := h.phase(first, dyno.Crashed)
		if crashed.Exit.Error != dyno.R10 || crashed.Exit.Code != 137 || !crashed.Ended() {
			t.Errorf("exit: %+v", crashed.Exit)
		}
		h.said(first,
			"Starting process with command `run`",
			"Error R10 (Boot timeout) -> Web process failed to bind to $PORT within 60 seconds of launch",
			"Stopping process with SIGKILL", "Process exited with status 137", "State changed from starting to crashed")
	})
}

func TestGraceEndsWithKill(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t)
		defer h.leave()
		h.runtime.Deaf()
		h.start(order(first, "worker.1"))
		h.stop(first, 1)
		time.Sleep(29 * time.Second)
		if s := h.phase(first, dyno.Stopping); s.Shown() != dyno.Up {
			t.Errorf("shown as %s", s.Shown())
		}
		h.stop(first, 1) // the same order again does not lengthen the grace
		time.Sleep(2 * time.Second)
		h.phase(first, dyno.Down)
		h.said(first,
			"Starting process with command `run`", "State changed from starting to up",
			"Stopping all processes with SIGTERM",
			"Error R12 (Exit timeout) -> At least one process failed to exit within 30 seconds of SIGTERM",
			"Stopping remaining processes with SIGKILL", "Process exited with status 137", "State changed from up to down")
	})
}

func TestCrash(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t)
		defer h.leave()
		h.start(order(first, "worker.1"))
		h.runtime.Exit(first, runtime.Exit{Code: 0})
		s := h.phase(first, dyno.Crashed)
		if !s.Ended() || !s.Released || s.Exit.Code != 0 {
			t.Errorf("a status of 0 that nobody ordered: %+v", s)
		}
		h.said(first,
			"Starting process with command `run`", "State changed from starting to up",
			"Process exited with status 0", "State changed from up to crashed")
	})
}

func TestOutOfMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t)
		defer h.leave()
		h.start(order(first, "worker.1"))
		h.runtime.Exit(first, runtime.Exit{Code: 137, Signal: 9, OOM: true})
		if s := h.phase(first, dyno.Crashed); s.Exit.Error != dyno.R15 || !s.Exit.OOM {
			t.Errorf("exit: %+v", s.Exit)
		}
	})
}

func TestBackoffStartsAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t)
		defer h.leave()
		o := order(first, "worker.1")
		o.Spec.Restart = dyno.Policy{Backoff: true, Delays: []time.Duration{0, time.Minute}}
		h.start(o)
		h.runtime.Exit(first, runtime.Exit{Code: 1})
		if s := h.phase(first, dyno.Up); s.Lives != 2 {
			t.Errorf("after the first crash: %d lives", s.Lives)
		}
		h.runtime.Exit(first, runtime.Exit{Code: 1})
		h.phase(first, dyno.Crashed)
		time.Sleep(59 * time.Second)
		h.phase(first, dyno.Crashed)
		time.Sleep(2 * time.Second)
		if s := h.phase(first, dyno.Up); s.Lives != 3 {
			t.Errorf("after the second crash: %d lives", s.Lives)
		}
		h.runtime.Exit(first, runtime.Exit{Code: 1})
		h.phase(first, dyno.Crashed)
		h.stop(first, 1)
		h.phase(first, dyno.Down)
		time.Sleep(10 * time.Minute)
		h.phase(first, dyno.Down)
	})
}

func TestOneOffAndTimeToLive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t)
		defer h.leave()
		o := order(first, "run.1")
		o.Spec.OneOff = true
		h.start(o)
		h.runtime.Exit(first, runtime.Exit{Code: 7})
		if s := h.phase(first, dyno.Complete); s.Exit.Code != 7 {
			t.Errorf("exit: %+v", s.Exit)
		}
		o = order(second, "run.2")
		o.Spec.OneOff, o.Spec.TimeToLive = true, time.Hour
		h.start(o)
		time.Sleep(59 * time.Minute)
		h.phase(second, dyno.Up)
		time.Sleep(2 * time.Minute)
		h.phase(second, dyno.Down)
	})
}

func TestChecksumIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t)
		defer h.leave()
		h.runtime.Fail("Prepare", &runtime.ChecksumError{Expected: "a", Actual: "b"})
		h.start(order(first, "worker.1"))
		if s := h.phase(first, dyno.Crashed); s.Exit.Error != dyno.R17 || s.Lives != 0 {
			t.Errorf("exit: %+v", s.Exit)
		}
		h.said(first,
			"Error R17 (Checksum error) -> Checksum does match expected value. Expected: SHA256:a Actual: SHA256:b",
			"State changed from starting to crashed")
		if h.runtime.Creates() != 0 {
			t.Error("something was executed")
		}
	})
}

// A stop order is obeyed in every step of a start, and nothing is left.
func TestStopOvertakesStart(t *testing.T) {
	for _, step := range []string{"Prepare", "Create", "Start", "Launch"} {
		t.Run(step, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newHost(t)
				defer h.leave()
				release := h.runtime.Hold(step)
				defer release()
				h.start(order(first, "worker.1"))
				h.phase(first, dyno.Starting)
				begun := time.Now()
				h.stop(first, 1)
				s := h.phase(first, dyno.Down)
				if time.Since(begun) > time.Second || !s.Released {
					t.Errorf("down after %s, released %v", time.Since(begun), s.Released)
				}
				if found, _ := h.runtime.List(t.Context()); len(found) != 0 {
					t.Errorf("left: %v", found)
				}
			})
		})
	}
}

// A stop order that comes as the start's last step ends is not left to a dyno-init that has no plan yet.
func TestStopAsTheStartEnds(t *testing.T) {
	for range 50 { // which of the two the runner sees first is chance
		synctest.Test(t, func(t *testing.T) {
			h := newHost(t)
			defer h.leave()
			release := h.runtime.Hold("Start")
			h.start(order(first, "worker.1"))
			begun := time.Now()
			release()
			h.stop(first, 1)
			h.phase(first, dyno.Down)
			if took := time.Since(begun); took > 0 {
				t.Errorf("the stop took %s", took)
			}
		})
	}
}

// An accepted order outlives an absence of containerd.
func TestStartIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t)
		defer h.leave()
		h.runtime.Fail("Create", errdefs.ErrUnavailable)
		h.start(order(first, "worker.1"))
		time.Sleep(5 * time.Second)
		h.phase(first, dyno.Starting)
		h.runtime.Fail("Create", nil)
		time.Sleep(2 * time.Second)
		h.phase(first, dyno.Up)

		h.runtime.Fail("Create", errdefs.ErrUnavailable)
		h.start(order(second, "worker.2"))
		time.Sleep(time.Minute)
		if s := h.phase(second, dyno.Crashed); s.Exit.Error != dyno.R99 {
			t.Errorf("given up: %+v", s.Exit)
		}
	})
}

func TestReleaseIsTriedUntilItWorks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t)
		defer h.leave()
		h.start(order(first, "worker.1"))
		h.runtime.Fail("Delete", errors.New("busy"))
		h.runtime.Exit(first, runtime.Exit{Code: 1})
		if s := h.phase(first, dyno.Crashed); s.Released {
			t.Error("released although nothing was deleted")
		}
		if free := h.Host().FreeSlots; free != 3 {
			t.Errorf("%d slots free: capacity was given back too early", free)
		}
		h.runtime.Fail("Delete", nil)
		time.Sleep(6 * time.Second)
		if s := h.phase(first, dyno.Crashed); !s.Released || h.Host().FreeSlots != 4 {
			t.Errorf("not released: %+v", s)
		}
	})
}

func TestEndedDynosAreForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t, func(c *agent.Config) { c.AwaitReports = true })
		defer h.leave()
		h.start(order(first, "worker.1"))
		h.runtime.Exit(first, runtime.Exit{Code: 1})
		time.Sleep(24 * time.Hour)
		s := h.phase(first, dyno.Crashed) // nobody has acknowledged its end
		if err := h.Acknowledge(t.Context(), first, 1, s.Revision); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if all := h.List(); len(all) != 0 {
			t.Errorf("not forgotten: %+v", all)
		}
		if left, _ := h.store.Load(); len(left) != 0 || len(h.logs.Lines(first)) != 0 {
			t.Errorf("left: %+v %q", left, h.logs.Lines(first))
		}
	})
}

// A late acknowledgement is no word about the next generation, whose revisions begin anew.
func TestEndOfTheNextGenerationIsNotAcknowledged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t, func(c *agent.Config) { c.AwaitReports = true })
		defer h.leave()
		o := order(first, "worker.1")
		end := func(generation int64) agent.Status {
			o.Generation = generation
			h.start(o)
			h.runtime.Exit(first, runtime.Exit{Code: 1})
			return h.phase(first, dyno.Crashed)
		}
		earlier, later := end(1), end(2)
		if later.Revision < earlier.Revision {
			t.Fatalf("revisions %d and %d", earlier.Revision, later.Revision)
		}
		for _, s := range []agent.Status{earlier, later} {
			if err := h.Acknowledge(t.Context(), first, s.Generation, s.Revision); err != nil {
				t.Fatal(err)
			}
			if got := h.phase(first, dyno.Crashed); got.Reported != (s.Generation == 2) {
				t.Errorf("reported %v after an acknowledgement of generation %d", got.Reported, s.Generation)
			}
		}
	})
}

func TestSignal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t)
		defer h.leave()
		h.start(order(first, "worker.1"))
		if err := h.Signal(t.Context(), first, syscall.SIGUSR1); err != nil {
			t.Fatal(err)
		}
		if got := h.runtime.Signals(first); !slices.Equal(got, []syscall.Signal{syscall.SIGUSR1}) {
			t.Errorf("signals: %v", got)
		}
	})
}
