package agent_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	goruntime "runtime"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/containerd/errdefs"

	"github.com/dynod/dynod/agent"
	"github.com/dynod/dynod/agent/dyno"
	"github.com/dynod/dynod/runtime"
)

func TestSameOrderTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t)
		defer h.leave()
		h.start(order(first, "worker.1"))
		again := h.start(order(first, "worker.1"))
		if again.ID != first || again.Lives != 1 || h.runtime.Creates() != 1 {
			t.Errorf("answer %+v, %d containers", again, h.runtime.Creates())
		}
	})
}

func TestRefusedStarts(t *testing.T) {
	other := order(first, "worker.1")
	other.Spec.Command.Line = "something else"
	lower := order(first, "worker.1")
	lower.Generation = 2
	wrong := order(second, "worker")
	late := order(second, "worker.1")
	late.NotAfter = time.Unix(1, 0)
	tests := map[string]struct {
		order agent.StartOrder
		class func(error) bool
	}{
		"another spec":     {other, errdefs.IsAlreadyExists},
		"lower generation": {lower, errdefs.IsFailedPrecondition},
		"bad spec":         {wrong, errdefs.IsInvalidArgument},
		"bad id":           {order("x", "worker.1"), errdefs.IsInvalidArgument},
		"too late":         {late, func(err error) bool { return errors.Is(err, context.DeadlineExceeded) }},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newHost(t)
				defer h.leave()
				running := order(first, "worker.1")
				running.Generation = 3
				h.start(running)
				if name == "another spec" {
					test.order.Generation = 3
				}
				if _, err := h.Start(t.Context(), test.order); !test.class(err) {
					t.Errorf("got %v", err)
				}
				synctest.Wait()
				if h.runtime.Creates() != 1 || len(h.List()) != 1 || h.Host().FreeSlots != 3 {
					t.Error("the refused order had an effect")
				}
				h.phase(first, dyno.Up)
			})
		})
	}
}

func TestCapacity(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t)
		defer h.leave()
		for i := range 4 {
			h.start(order(fmt.Sprintf("00000000-0000-4000-8000-00000000001%d", i), "worker.1"))
		}
		if _, err := h.Start(t.Context(), order(first, "worker.5")); !errdefs.IsResourceExhausted(err) {
			t.Errorf("fifth dyno: %v", err)
		}
		if left, _ := h.store.Load(); len(left) != 4 {
			t.Errorf("%d records", len(left))
		}
		h.stop("00000000-0000-4000-8000-000000000010", 1)
		h.start(order(first, "worker.5"))
		if s := h.phase(first, dyno.Up); s.Slot != 4 {
			t.Errorf("slot %d, want 4: the freed one rests", s.Slot)
		}
	})
}

func TestMemoryIsCapacity(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t)
		defer h.leave()
		big := order(first, "worker.1")
		big.Spec.Limits.Memory = 3 << 30
		if _, err := h.Start(t.Context(), big); !errdefs.IsResourceExhausted(err) {
			t.Errorf("got %v", err)
		}
	})
}

func TestGenerations(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t)
		defer h.leave()
		h.start(order(first, "worker.1"))
		newer := order(first, "worker.1")
		newer.Generation = 5
		if s := h.start(newer); s.Generation != 5 || s.Lives != 1 {
			t.Errorf("a newer order of the same spec: %+v", s)
		}
		if _, err := h.Stop(t.Context(), agent.StopOrder{ID: first, Generation: 4}); !errdefs.IsFailedPrecondition(err) {
			t.Errorf("older stop: %v", err)
		}
		h.phase(first, dyno.Up)
		h.stop(first, 6)
		h.phase(first, dyno.Down)
		if s := h.start(agent.StartOrder{ID: first, Generation: 6, Spec: newer.Spec}); s.Phase != dyno.Down {
			t.Errorf("an order that was overtaken by its stop: %s", s.Phase)
		}
		newer.Generation, newer.Spec.Command.Line = 7, "next release"
		elsewhere := newer
		elsewhere.Spec.Secret.LogSinks = []dyno.LogSink{{URL: "https://logs.example/"}}
		if _, err := h.Start(t.Context(), elsewhere); !errdefs.IsAlreadyExists(err) || strings.Contains(err.Error(), "logs.example") {
			t.Errorf("the next generation with other log sinks: %v", err)
		}
		h.start(newer)
		if s := h.phase(first, dyno.Up); s.Generation != 7 || s.Spec.Command.Line != "next release" {
			t.Errorf("the next generation: %+v", s)
		}
	})
}

// An order for a dyno that lives is good only once the disk has it, however often it comes.
func TestOrderThatTheDiskRefusesIsNotGood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t)
		defer h.leave()
		h.start(order(first, "worker.1"))
		record := filepath.Join(h.records, first+".json")
		if err := errors.Join(os.Remove(record), os.MkdirAll(filepath.Join(record, "x"), 0o700)); err != nil { // no file can take its place
			t.Fatal(err)
		}
		newer := order(first, "worker.1")
		newer.Generation = 2
		for range 2 {
			if _, err := h.Start(t.Context(), newer); !errdefs.IsUnavailable(err) {
				t.Errorf("while the disk refuses it: %v", err)
			}
		}
		if err := h.Pulse(t.Context()); err != nil {
			t.Errorf("a disk that refuses is no deadlock: %v", err)
		}
		if err := os.RemoveAll(record); err != nil {
			t.Fatal(err)
		}
		h.start(newer)
		if left, err := h.store.Load(); err != nil || len(left) != 1 || left[0].Record.Generation != 2 {
			t.Errorf("accepted, and on the disk: %+v %v", left, err)
		}
	})
}

// The next generation of a dyno that has crashed waits for the clean-up, whatever its spec, and runs then.
func TestNextGenerationDuringTheCleanUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t)
		defer h.leave()
		h.start(order(first, "worker.1"))
		release := h.runtime.Hold("Delete")
		h.runtime.Exit(first, runtime.Exit{Code: 1})
		h.phase(first, dyno.Crashed)
		same, other := order(first, "worker.1"), order(first, "worker.1")
		same.Generation, other.Generation = 2, 3
		other.Spec.Command.Line = "next release"
		for _, o := range []agent.StartOrder{same, other} {
			if _, err := h.Start(t.Context(), o); !errdefs.IsUnavailable(err) {
				t.Errorf("generation %d: %v", o.Generation, err)
			}
		}
		release()
		h.phase(first, dyno.Crashed)
		h.start(other)
		if s := h.phase(first, dyno.Up); s.Generation != 3 || s.Spec.Command.Line != "next release" {
			t.Errorf("the next generation: %+v", s)
		}
	})
}

func TestUnknownStopIsFine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t)
		defer h.leave()
		h.stop(first, 1)
		if _, err := h.Get(first); !errdefs.IsNotFound(err) {
			t.Errorf("got %v", err)
		}
	})
}

func TestRefusedReplacementKeepsTheOldEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t)
		defer h.leave()
		h.start(order(first, "worker.1"))
		h.stop(first, 1)
		next := order(first, "worker.1")
		next.Generation, next.Spec.Limits.Memory = 2, 64<<30
		if _, err := h.Start(t.Context(), next); !errdefs.IsResourceExhausted(err) {
			t.Errorf("got %v", err)
		}
		h.phase(first, dyno.Down)
	})
}

func TestCordonAndDrain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t)
		h.start(order(first, "worker.1"))
		if err := h.Cordon("kernel update"); err != nil {
			t.Fatal(err)
		}
		if _, err := h.Start(t.Context(), order(second, "worker.2")); !errdefs.IsFailedPrecondition(err) {
			t.Errorf("start on a cordoned host: %v", err)
		}
		h.leave()
		h.arrive()
		if !h.Host().Cordoned {
			t.Error("the cordon did not outlive the agent")
		}
		h.runtime.Deaf()
		drained := make(chan error, 1)
		go func() { drained <- h.Drain(t.Context(), time.Second, 0) }()
		h.phase(first, dyno.Stopping)
		if !h.Host().Draining {
			t.Error("not said to be draining")
		}
		if err := <-drained; err != nil || h.Host().Draining {
			t.Fatalf("drained: %v, still draining: %v", err, h.Host().Draining)
		}
		h.phase(first, dyno.Down)
		if err := h.Uncordon(); err != nil {
			t.Fatal(err)
		}
		h.start(order(second, "worker.2"))
		h.leave()
	})
}

// TestDrainAwaitsOrdersUnderWay has the disk take its time with an order that came before the cordon.
func TestDrainAwaitsOrdersUnderWay(t *testing.T) {
	for name, refused := range map[string]bool{"accepted": false, "refused": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newHost(t)
				defer h.leave()
				slow := filepath.Join(h.secrets, first+".json")
				if err := syscall.Mkfifo(slow, 0o600); err != nil {
					t.Fatal(err)
				}
				if refused { // no record can take its place
					if err := os.MkdirAll(filepath.Join(h.records, first+".json", "x"), 0o700); err != nil {
						t.Fatal(err)
					}
				}
				ordered, drained := make(chan error, 1), make(chan error, 1)
				go func() {
					_, err := h.Start(t.Context(), order(first, "worker.1"))
					ordered <- err
				}()
				for h.Host().FreeSlots == 4 {
					goruntime.Gosched()
				}
				go func() { drained <- h.Drain(t.Context(), -1, 0) }()
				for !h.Host().Cordoned {
					goruntime.Gosched()
				}
				if _, err := os.ReadFile(slow); err != nil {
					t.Fatal(err)
				}
				if err := <-ordered; (err != nil) != refused {
					t.Errorf("order: %v", err)
				}
				if err := <-drained; err != nil {
					t.Errorf("drain: %v", err)
				}
				for _, s := range h.List() {
					if !s.Ended() {
						t.Errorf("drained, and a dyno is %s", s.Phase)
					}
				}
			})
		})
	}
}

func TestContainerdAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t)
		defer h.leave()
		h.runtime.Fail("Ping", errors.New("away"))
		time.Sleep(6 * time.Second)
		if _, err := h.Start(t.Context(), order(first, "worker.1")); !errdefs.IsUnavailable(err) || len(h.List()) != 0 {
			t.Errorf("got %v", err)
		}
		if h.Host().Reachable {
			t.Error("said to be reachable")
		}
		h.runtime.Fail("Ping", nil)
		time.Sleep(6 * time.Second)
		h.start(order(first, "worker.1"))
		h.phase(first, dyno.Up)
	})
}

func TestWatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t, func(c *agent.Config) { c.KeepFinished = 0 })
		defer h.leave()
		h.start(order(first, "worker.1"))
		watch, all := h.Watch()
		defer watch.Close()
		if len(all) != 1 || all[0].Phase != dyno.Up {
			t.Fatalf("snapshot: %+v", all)
		}
		h.start(order(second, "worker.2"))
		changed, _, err := watch.Next(t.Context())
		if err != nil || len(changed) != 1 || changed[0].ID != second || changed[0].Phase != dyno.Up {
			t.Errorf("changed: %+v %v", changed, err)
		}
		h.runtime.Exit(first, runtime.Exit{Code: 1})
		synctest.Wait()
		if _, forgotten, err := watch.Next(t.Context()); err != nil || len(forgotten) != 1 || forgotten[0] != first {
			t.Errorf("forgotten: %v %v", forgotten, err)
		}
	})
}
