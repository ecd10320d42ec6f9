package agent_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/containerd/errdefs"

	"github.com/dynod/dynod/agent/dyno"
	"github.com/dynod/dynod/network"
	"github.com/dynod/dynod/runtime"
)

func TestAgentRestartsBesideARunningDyno(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t)
		h.start(order(first, "worker.1"))
		before := h.phase(first, dyno.Up)
		if !h.network.Dropped(first) {
			t.Error("the mount of its sysfs stays")
		}
		h.leave()
		if _, err := h.Start(t.Context(), order(second, "worker.2")); !errdefs.IsUnavailable(err) {
			t.Errorf("an agent that leaves accepts: %v", err)
		}
		h.arrive()
		after := h.phase(first, dyno.Up)
		if after.Lives != 1 || after.PID != before.PID || after.HostPort != before.HostPort || h.runtime.Creates() != 1 {
			t.Errorf("before %+v after %+v", before, after)
		}
		h.runtime.Exit(first, runtime.Exit{Code: 3})
		if s := h.phase(first, dyno.Crashed); s.Exit.Code != 3 {
			t.Errorf("exit: %+v", s.Exit)
		}
		h.leave()
	})
}

// A containerd that is slow when the agent comes back costs time, not the knowledge of the dyno's process.
func TestAdoptionIsTriedAgain(t *testing.T) {
	for name, err := range map[string]error{"slow": context.DeadlineExceeded, "away": errdefs.ErrUnavailable} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newHost(t)
				h.start(order(first, "worker.1"))
				before := h.phase(first, dyno.Up)
				h.leave()
				h.runtime.Fail("PID", fmt.Errorf("find task: %w", err))
				h.arrive()
				time.Sleep(3 * time.Second)
				h.runtime.Fail("PID", nil)
				time.Sleep(2 * time.Second)
				if after := h.phase(first, dyno.Up); after.PID != before.PID || after.Lives != 1 {
					t.Errorf("before %+v after %+v", before, after)
				}
				h.leave()
			})
		})
	}
}

func TestExitWhileTheAgentIsAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t)
		h.start(order(first, "worker.1"))
		h.leave()
		h.runtime.Exit(first, runtime.Exit{Code: 9})
		h.arrive()
		if s := h.phase(first, dyno.Crashed); s.Exit.Code != 9 || !s.Released {
			t.Errorf("%+v", s)
		}
		h.leave()
	})
}

// A web dyno that ends while it boots and the agent is away has ended as its command did, also when its boot timeout is over
// before containerd says so.
func TestExitInABootWhileTheAgentIsAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t)
		h.start(order(first, "web.1"))
		h.phase(first, dyno.Starting)
		h.leave()
		h.runtime.Exit(first, runtime.Exit{Code: 1})
		time.Sleep(2 * time.Minute)
		tell := h.runtime.Hold("Wait")
		h.arrive()
		defer func() { h.leave() }()
		tell()
		if s := h.phase(first, dyno.Crashed); s.Exit.Code != 1 || s.Exit.Error != "" || s.Lives != 1 {
			t.Errorf("%d lives, exit: %+v", s.Lives, s.Exit)
		}
		h.said(first, "Starting process with command `run`", "Process exited with status 1", "State changed from starting to crashed")
	})
}

// The agent goes away in each step of a start: the next one finishes the order, once.
func TestStartGoesOnAfterRestart(t *testing.T) {
	for _, step := range []string{"Prepare", "Create", "Start", "Launch"} {
		t.Run(step, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newHost(t)
				release := h.runtime.Hold(step)
				h.start(order(first, "worker.1"))
				h.phase(first, dyno.Starting)
				h.leave()
				release()
				h.arrive()
				s := h.phase(first, dyno.Up)
				if s.Lives != 1 || h.runtime.Plan(first) == nil || !slices.Contains(h.runtime.Plan(first).Env, "KEY=value") {
					t.Errorf("%+v", s)
				}
				h.leave()
			})
		})
	}
}

// A stop that comes while what an earlier agent left is removed ends the start that would follow.
func TestStopBeforeAStartGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t)
		create := h.runtime.Hold("Create")
		h.start(order(first, "worker.1"))
		h.leave()
		create()
		remove, prepare := h.runtime.Hold("Delete"), h.runtime.Hold("Prepare")
		h.arrive()
		defer func() { h.leave() }()
		h.stop(first, 1)
		begun := time.Now()
		remove()
		if s := h.phase(first, dyno.Down); time.Since(begun) > 0 || !s.Released {
			t.Errorf("down after %s, released %v", time.Since(begun), s.Released)
		}
		prepare()
	})
}

// A dyno that has its plan does not get another one.
func TestLaunchedDynoIsNotLaunchedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t)
		h.start(order(first, "web.1"))
		h.leave()
		h.arrive()
		h.phase(first, dyno.Starting)
		h.network.Listen(first)
		time.Sleep(time.Second)
		if s := h.phase(first, dyno.Up); s.Lives != 1 || h.runtime.Launches() != 1 {
			t.Errorf("%d launches, %d lives", h.runtime.Launches(), s.Lives)
		}
		h.leave()
	})
}

// What an agent could not clean up before it left, the next one does.
func TestCleanUpGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t)
		h.start(order(first, "worker.1"))
		h.runtime.Fail("Delete", errors.New("busy"))
		h.runtime.Exit(first, runtime.Exit{Code: 1})
		h.phase(first, dyno.Crashed)
		h.leave()
		h.runtime.Fail("Delete", nil)
		h.arrive()
		if s := h.phase(first, dyno.Crashed); !s.Released {
			t.Errorf("%+v", s)
		}
		if found, _ := h.runtime.List(t.Context()); len(found) != 0 {
			t.Errorf("left: %v", found)
		}
		h.leave()
	})
}

// Of a finished dyno nothing is looked for again: a host has hundreds of them.
func TestFinishedDynoIsNotCleanedUpAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t)
		h.start(order(first, "worker.1"))
		h.stop(first, 1)
		h.phase(first, dyno.Down)
		h.leave()
		release := h.runtime.Hold("Delete")
		h.arrive()
		time.Sleep(2 * time.Hour)
		synctest.Wait()
		if _, err := h.Get(first); !errdefs.IsNotFound(err) {
			t.Errorf("not forgotten: %v", err)
		}
		release()
		h.leave()
	})
}

func TestGraceCountsFromTheFirstTermAcrossRestarts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t)
		h.runtime.Deaf()
		h.start(order(first, "worker.1"))
		h.stop(first, 1)
		time.Sleep(20 * time.Second)
		h.leave()
		time.Sleep(5 * time.Second)
		h.arrive()
		h.phase(first, dyno.Stopping)
		if got := h.runtime.Signals(first); !slices.Equal(got, []syscall.Signal{syscall.SIGTERM}) {
			t.Errorf("signals after the restart: %v", got)
		}
		time.Sleep(6 * time.Second)
		h.phase(first, dyno.Down)
		h.leave()
	})
}

// TestReboot takes what is on tmpfs along. That a dyno had come up is on the disk a second later.
func TestReboot(t *testing.T) {
	for name, c := range map[string]struct {
		after time.Duration
		lines []string
	}{
		"at once": {0, []string{"State changed from starting to crashed"}},
		"later":   {2 * time.Second, []string{"Error R99 (Platform error) -> host reboot", "State changed from up to crashed"}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newHost(t)
				h.start(order(first, "worker.1"))
				h.phase(first, dyno.Up)
				time.Sleep(c.after)
				h.leave()
				_ = h.runtime.Delete(t.Context(), first)
				if err := os.RemoveAll(h.secrets); err != nil {
					t.Fatal(err)
				}
				if err := os.Mkdir(h.secrets, 0o700); err != nil {
					t.Fatal(err)
				}
				h.config.BootID = "boot-2"
				h.arrive()
				defer func() { h.leave() }()
				s := h.phase(first, dyno.Crashed)
				if s.Exit.Failure != "host reboot" || s.Exit.Code != -1 || !s.Released || !s.Ended() {
					t.Errorf("%+v %+v", s, s.Exit)
				}
				h.said(first, append([]string{"Starting process with command `run`", "State changed from starting to up"}, c.lines...)...)
			})
		})
	}
}

func TestLeftoversOfNobodyAreRemoved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t)
		h.leave()
		_ = h.runtime.Create(t.Context(), runtime.Container{ID: first})
		_, _ = h.network.Setup(t.Context(), network.Request{ID: second, Slot: 2})
		h.arrive()
		containers, _ := h.runtime.List(t.Context())
		networks, _ := h.network.List(t.Context())
		if len(containers)+len(networks) != 0 {
			t.Errorf("left: %v %v", containers, networks)
		}
		h.leave()
	})
}

func TestUnreadableRecordIsLeftAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t)
		h.start(order(first, "worker.1"))
		h.leave()
		if err := os.WriteFile(h.records+"/"+first+".json", []byte("{"), 0o600); err != nil {
			t.Fatal(err)
		}
		h.arrive()
		if found, _ := h.runtime.List(t.Context()); len(found) != 1 || found[0].State != runtime.StateRunning {
			t.Errorf("the dyno was touched: %v", found)
		}
		if got := h.Host().Unreadable; !slices.Equal(got, []string{first}) {
			t.Errorf("reported: %v", got)
		}
		if _, err := h.Start(t.Context(), order(first, "worker.1")); !errdefs.IsFailedPrecondition(err) {
			t.Errorf("an order for it: %v", err)
		}
		h.start(order(second, "worker.2"))
		if s := h.phase(second, dyno.Up); s.Slot == 0 {
			t.Error("the slot of the dyno that was left alone was given away")
		}
		if err := h.Drain(t.Context(), time.Second, 0); !errdefs.IsFailedPrecondition(err) || !strings.Contains(err.Error(), first) {
			t.Errorf("drained: %v", err)
		}
		if s := h.phase(second, dyno.Down); !s.Ended() {
			t.Errorf("the other one: %+v", s)
		}
		h.leave()
	})
}

func TestRecoveryWaitsForContainerd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t)
		h.start(order(first, "worker.1"))
		h.leave()
		h.runtime.Fail("List", errors.New("away"))
		h.arrive()
		if _, err := h.Start(t.Context(), order(second, "worker.2")); !errdefs.IsUnavailable(err) {
			t.Errorf("not recovered, but: %v", err)
		}
		h.runtime.Fail("List", nil)
		time.Sleep(2 * time.Second)
		h.phase(first, dyno.Up)
		h.leave()
	})
}

func TestLostContactIsNoExit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t)
		defer h.leave()
		h.runtime.Fail("Wait", errdefs.ErrNotFound)
		h.start(order(first, "worker.1"))
		s := h.phase(first, dyno.Crashed)
		if s.Exit.Failure == "" || s.Exit.Error != dyno.R99 || s.Exit.Code != -1 {
			t.Errorf("%+v", s.Exit)
		}
	})
}
