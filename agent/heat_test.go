package agent_test

import (
	"fmt"
	"maps"
	"testing"
	"testing/synctest"
	"time"

	"github.com/containerd/errdefs"

	"github.com/dynod/dynod/agent"
	"github.com/dynod/dynod/agent/dyno"
)

// heated has room for many small dynos, and sandboxes made ahead.
func heated(slots int, stacks ...string) func(*agent.Config) {
	return func(c *agent.Config) {
		c.Slots, c.RestingSlots, c.WarmSlots, c.Memory = 40, 0, slots, 40<<30
		c.Defaults.Sources.Stacks = append(c.Defaults.Sources.Stacks, stacks...)
	}
}

func (h *host) warm(want map[int]string) {
	h.t.Helper()
	synctest.Wait()
	if got := h.runtime.Spares(); !maps.Equal(got, want) {
		h.t.Errorf("sandboxes made ahead: %v, want %v", got, want)
	}
	if got := h.Host().WarmSlots; got != len(want) {
		h.t.Errorf("the host tells of %d warm slots instead of %d", got, len(want))
	}
}

func nth(i int) string { return fmt.Sprintf("00000000-0000-4000-8000-0000000000%02d", i) }

func imageOrder(id string) agent.StartOrder {
	o := order(id, "worker.1")
	o.Spec.Artifact, o.Spec.Secret, o.Spec.Command = dyno.Artifact{Image: "img"}, dyno.Secret{}, dyno.Command{Line: "run"}
	return o
}

func TestSandboxesAreMadeAhead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t, heated(2))
		defer h.leave()
		h.warm(map[int]string{0: "small", 1: "small"})
		if free := h.Host().FreeMemory; free != 40<<30-2*2<<20 {
			t.Errorf("%d bytes free beside two sandboxes", free)
		}
		h.start(order(nth(1), "worker.1"))
		h.phase(nth(1), dyno.Up)
		h.warm(map[int]string{1: "small"}) // nothing is made while the order's dyno needs the CPUs
		time.Sleep(time.Second)
		h.warm(map[int]string{1: "small", 2: "small"})
		for i := range 4 {
			h.start(order(nth(10+i), "worker.1"))
		}
		time.Sleep(time.Second)
		h.warm(map[int]string{5: "small", 6: "small", 7: "small", 8: "small", 9: "small"}) // as many as were ordered lately
		if got := h.runtime.Taken(); got < 3 {
			t.Errorf("%d dynos of 5 got a sandbox", got)
		}
	})
}

// TestNetworksAreMadeAheadBesideSandboxes: an order that cannot have a sandbox is to find a network, whoever else has ordered.
func TestNetworksAreMadeAheadBesideSandboxes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t, heated(2), func(c *agent.Config) { c.Pool = 1 })
		defer h.leave()
		h.prepared(0, 1, 2)
		h.start(order(nth(1), "worker.1"))
		time.Sleep(time.Second)
		h.prepared(1, 2, 3)
		h.start(imageOrder(nth(2)))
		h.start(imageOrder(nth(3)))
		time.Sleep(20 * time.Second)
		h.prepared(1, 2, 5, 6, 7) // the third order in ten seconds has 5 get a sandbox
	})
}

func TestImagesLeaveSandboxesToSlugs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t, heated(2))
		defer h.leave()
		h.warm(map[int]string{0: "small", 1: "small"})
		if s := h.start(imageOrder(first)); s.Slot != 2 {
			t.Errorf("the image got slot %d", s.Slot)
		}
		if s := h.start(order(second, "worker.1")); s.Slot != 0 {
			t.Errorf("the slug got slot %d", s.Slot)
		}
	})
}

func TestSandboxesFollowTheStackThatIsOrdered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t, heated(2, "tall"))
		defer h.leave()
		h.warm(map[int]string{0: "tall", 1: "tall"})
		h.start(order(first, "worker.1")) // on small
		time.Sleep(time.Second)
		h.warm(map[int]string{0: "small", 1: "small"})
		o := order(second, "worker.1")
		o.Spec.Artifact.Stack = "tall"
		h.start(o)
		time.Sleep(time.Second)
		h.warm(map[int]string{0: "small", 1: "small"}) // both are wanted
		time.Sleep(2 * time.Minute)
		h.start(imageOrder(nth(30)))
		time.Sleep(time.Second)
		h.warm(map[int]string{0: "tall", 1: "tall"})
	})
}

// TestSandboxesWaitForTheirStack is a host on which no slug was ever ordered.
func TestSandboxesWaitForTheirStack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t)
		h.leave()
		h.config.WarmSlots = 1
		h.runtime.Fail("Warm", errdefs.ErrNotFound)
		h.arrive()
		defer func() { h.leave() }()
		h.warm(nil)
		h.runtime.Fail("Warm", nil)
		time.Sleep(6 * time.Second)
		h.warm(map[int]string{0: "small"})
	})
}

func TestNoSandboxesWhereMemoryIsShort(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t, heated(4), func(c *agent.Config) { c.Memory = 5 << 20 })
		defer h.leave()
		h.warm(map[int]string{0: "small", 1: "small"})
	})
}
