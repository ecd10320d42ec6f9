package agent_test

import (
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/containerd/errdefs"

	"github.com/dynod/dynod/agent"
	"github.com/dynod/dynod/agent/dyno"
)

// TestOrderThatIsNotDurableLeavesNothing although its dyno's life has begun. The host has one place.
func TestOrderThatIsNotDurableLeavesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t, func(c *agent.Config) { c.Slots, c.RestingSlots = 1, 0 })
		defer h.leave()
		inTheWay := filepath.Join(h.records, first+".json")
		if err := os.MkdirAll(filepath.Join(inTheWay, "x"), 0o700); err != nil {
			t.Fatal(err)
		}
		if _, err := h.Start(t.Context(), order(first, "worker.1")); !errdefs.IsUnavailable(err) {
			t.Fatalf("start: %v", err)
		}
		synctest.Wait()
		containers, _ := h.runtime.List(t.Context())
		networks, _ := h.network.List(t.Context())
		spools, _ := h.logs.List(t.Context())
		if _, err := h.Get(first); !errdefs.IsNotFound(err) || len(containers)+len(networks)+len(spools) > 0 {
			t.Errorf("left: %v, %v, %v; its status: %v", containers, networks, spools, err)
		}
		if err := os.RemoveAll(inTheWay); err != nil {
			t.Fatal(err)
		}
		time.Sleep(31 * time.Second) // the slot rests
		h.start(order(first, "worker.1"))
		h.phase(first, dyno.Up)
	})
}
