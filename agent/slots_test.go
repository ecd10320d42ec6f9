package agent_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/containerd/errdefs"

	"github.com/dynod/dynod/agent"
	"github.com/dynod/dynod/agent/dyno"
	"github.com/dynod/dynod/network"
	"github.com/dynod/dynod/runtime"
)

func noneBeyond(places int) func(*agent.Config) {
	return func(c *agent.Config) { c.Slots, c.RestingSlots = places, 0 }
}

func TestFreedSlotRests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t, noneBeyond(1))
		defer h.leave()
		h.start(order(first, "worker.1"))
		h.stop(first, 1)
		if free := h.Host().FreeSlots; free != 0 {
			t.Errorf("%d free places while the only slot rests", free)
		}
		time.Sleep(29 * time.Second)
		if _, err := h.Start(t.Context(), order(second, "worker.2")); !errdefs.IsResourceExhausted(err) {
			t.Errorf("the slot was given away after 29 s: %v", err)
		}
		if left, _ := h.store.Load(); len(left) != 1 {
			t.Errorf("%d records after a refused order", len(left))
		}
		time.Sleep(2 * time.Second)
		h.start(order(second, "worker.2"))
		h.phase(second, dyno.Up)
	})
}

// TestSlotRestsAfterARestart leaves the next agent a dyno that ended and one that nobody knows.
func TestSlotRestsAfterARestart(t *testing.T) {
	for name, leave := range map[string]func(*testing.T, *host){
		"ended":   func(_ *testing.T, h *host) { h.start(order(first, "worker.1")); h.stop(first, 1) },
		"sandbox": func(t *testing.T, h *host) { _ = h.runtime.Create(t.Context(), runtime.Container{ID: first, Slot: 0}) },
		"unknown": func(t *testing.T, h *host) { _, _ = h.network.Setup(t.Context(), network.Request{ID: first}) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newHost(t, noneBeyond(1))
				leave(t, h)
				h.leave()
				h.arrive()
				defer func() { h.leave() }()
				if _, err := h.Start(t.Context(), order(second, "worker.2")); !errdefs.IsResourceExhausted(err) {
					t.Errorf("the slot was given away at once: %v", err)
				}
				time.Sleep(31 * time.Second)
				h.start(order(second, "worker.2"))
				h.phase(second, dyno.Up)
			})
		})
	}
}

// TestSlotOfALostGenerationRests has an agent killed before the next generation of a dyno was written down: its network is in
// another slot than the one of its record.
func TestSlotOfALostGenerationRests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t, noneBeyond(2))
		h.start(order(first, "worker.1"))
		h.stop(first, 1)
		h.leave()
		_, _ = h.network.Setup(t.Context(), network.Request{ID: first, Slot: 1})
		h.arrive()
		defer func() { h.leave() }()
		if _, err := h.Start(t.Context(), order(second, "worker.2")); !errdefs.IsResourceExhausted(err) {
			t.Errorf("the slot was given away at once: %v", err)
		}
		time.Sleep(31 * time.Second)
		h.start(order(second, "worker.2"))
		h.phase(second, dyno.Up)
	})
}

func TestNetworksAreMadeAhead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t, func(c *agent.Config) { c.Slots, c.RestingSlots, c.Pool, c.Memory = 40, 0, 2, 40<<30 })
		defer h.leave()
		h.prepared(0, 1)
		h.start(order(first, "worker.1"))
		h.prepared(1) // the rest when the dyno has had its time
		time.Sleep(time.Second)
		h.prepared(1, 2)
		for i := range 3 {
			h.start(order(fmt.Sprintf("00000000-0000-4000-8000-00000000001%d", i), "worker.1"))
		}
		time.Sleep(time.Second)
		h.prepared(4, 5, 6, 7) // as many as were ordered lately
	})
}

// TestDynoThatStartsNothingHoldsUpNobody has one that awaits its next life for an hour, and one that awaits its client.
func TestDynoThatStartsNothingHoldsUpNobody(t *testing.T) {
	crashing := order(first, "worker.1")
	crashing.Spec.Restart = dyno.Policy{Backoff: true, Delays: []time.Duration{time.Hour}}
	for name, c := range map[string]struct {
		order agent.StartOrder
		fails error
	}{
		"failed":   {crashing, errors.New("no such slug")},
		"attached": {attachedOrder(first), nil},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newHost(t, func(c *agent.Config) { c.Pool = 2 })
				defer h.leave()
				h.runtime.Fail("Prepare", c.fails)
				h.start(c.order)
				h.prepared(1)
				time.Sleep(time.Second)
				h.prepared(1, 2)
			})
		})
	}
}

// TestNetworkIsMadeAheadForARestedSlot fails once on the way.
func TestNetworkIsMadeAheadForARestedSlot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t, noneBeyond(1), func(c *agent.Config) { c.Pool = 1 })
		defer h.leave()
		h.start(order(first, "worker.1"))
		h.stop(first, 1)
		h.network.FailPrepare(errdefs.ErrUnavailable)
		time.Sleep(29 * time.Second)
		h.prepared()
		time.Sleep(2 * time.Second)
		h.prepared()
		h.network.FailPrepare(nil)
		time.Sleep(2 * time.Second)
		h.prepared(0)
	})
}

// TestBlockedSlotDoesNotHoldUpOthers has somebody else's link where the network of the next slot belongs.
func TestBlockedSlotDoesNotHoldUpOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t, noneBeyond(4))
		h.leave()
		h.network.Block(0)
		h.config.Pool = 3
		h.arrive()
		defer func() { h.leave() }()
		h.prepared(1, 2)
	})
}

// TestLeftoversAreRemovedInTheEnd has a container that cannot be deleted for some minutes.
func TestLeftoversAreRemovedInTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t, noneBeyond(1))
		_, _ = h.network.Setup(t.Context(), network.Request{ID: first})
		h.leave()
		h.runtime.Fail("Delete", errdefs.ErrUnavailable)
		h.arrive()
		defer func() { h.leave() }()
		time.Sleep(5 * time.Minute)
		for id, want := range map[string]func(error) bool{first: errdefs.IsUnavailable, second: errdefs.IsResourceExhausted} {
			if _, err := h.Start(t.Context(), order(id, "worker.1")); !want(err) {
				t.Errorf("order for %s while its leftovers or slot are in use: %v", id, err)
			}
		}
		h.runtime.Fail("Delete", nil)
		time.Sleep(2 * time.Minute)
		h.start(order(second, "worker.2"))
		h.phase(second, dyno.Up)
	})
}

// TestSlotOfTwoIsFreedByTheLast leaves the next agent a dyno, and leftovers of another one in the same slot.
func TestSlotOfTwoIsFreedByTheLast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t, noneBeyond(2))
		h.start(order(first, "worker.1"))
		_, _ = h.network.Setup(t.Context(), network.Request{ID: second, Slot: 0})
		h.leave()
		h.arrive()
		defer func() { h.leave() }()
		for generation := range int64(3) {
			time.Sleep(time.Minute)
			o := order(second, "worker.2")
			o.Generation = 2*generation + 1
			if s := h.start(o); s.Slot != 1 {
				t.Errorf("got slot %d, in which a dyno lives", s.Slot)
			}
			h.stop(second, o.Generation+1)
		}
	})
}

func TestNetworkWarningsAreTheHosts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t, func(c *agent.Config) { c.Warnings = []string{"one"} })
		defer h.leave()
		h.network.Warn("two")
		if got := h.Host().Warnings; !slices.Equal(got, []string{"one", "two"}) {
			t.Errorf("warnings: %q", got)
		}
	})
}

func (h *host) prepared(want ...int) {
	h.t.Helper()
	synctest.Wait()
	if got := h.network.Spares(); !slices.Equal(got, want) {
		h.t.Errorf("networks made ahead for slots %v, want %v", got, want)
	}
	for _, slot := range want {
		if h.runtime.Spares()[slot] == "" && !h.runtime.Primed(slot) {
			h.t.Errorf("slot %d has a network and is not primed", slot)
		}
	}
}

// A slot beyond those of the configuration, which an earlier one gave to a dyno, is given to no other.
func TestSlotOfAnEarlierConfiguration(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t, noneBeyond(2))
		h.start(order(first, "worker.1"))
		h.start(order(second, "worker.2"))
		h.leave()
		h.config.Slots, h.config.KeepFinished = 1, 0
		h.arrive()
		defer func() { h.leave() }()
		h.stop(second, 1)
		h.stop(first, 1)
		time.Sleep(time.Minute)
		if s := h.start(order(first, "worker.1")); s.Slot != 0 {
			t.Errorf("got slot %d of a host with one", s.Slot)
		}
	})
}

func TestOrderDecidesTheNetwork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t, func(c *agent.Config) { c.Defaults.Policies = []string{"shut"} })
		defer h.leave()
		o := order(first, "worker.1")
		o.Spec.NetworkPolicy, o.Spec.Metadata.Space = "shut", "blue"
		h.start(o)
		want := network.Request{ID: first, Slot: 0, Port: 5000, Policy: "shut", Size: "standard-1x", Space: "blue"}
		if got := h.network.Request(first); got != want {
			t.Errorf("asked for %+v, want %+v", got, want)
		}
	})
}
