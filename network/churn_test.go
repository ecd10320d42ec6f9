package network_test

import (
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/google/uuid"

	"github.com/dynod/dynod/network"
)

func TestHundredRandomCyclesLeaveNothing(t *testing.T) {
	h := newHost(t)
	before := h.snapshot()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	ids := map[int]string{}
	for range 200 {
		slot := random.IntN(8)
		if id, taken := ids[slot]; taken {
			h.teardown(id)
			delete(ids, slot)
		} else {
			ids[slot], _ = h.setup(slot)
		}
		if random.IntN(50) == 0 {
			h.restart()
		}
		h.finds(asFound(ids)...)
	}
	for _, id := range ids {
		h.teardown(id)
	}
	h.finds()
	h.nothingBeyond(before)
}

func TestManyAtOnce(t *testing.T) {
	h := newHost(t)
	before := h.snapshot()
	var all sync.WaitGroup
	for i := range 16 {
		all.Go(func() { h.contend(t, i) })
	}
	all.Wait()
	h.finds()
	h.nothingBeyond(before)
}

// contend sets up and tears down a dyno again and again in one of four slots
// that it shares with others.
func (h *host) contend(t *testing.T, i int) {
	id := uuid.NewString()
	for range 10 {
		_, err := h.Setup(t.Context(), network.Request{ID: id, Slot: i % 4, Port: 3000})
		if err != nil && !errdefs.IsAlreadyExists(err) {
			t.Errorf("set up: %v", err)
		}
		if err := h.Teardown(t.Context(), id); err != nil {
			t.Errorf("tear down: %v", err)
		}
	}
}

func asFound(ids map[int]string) []network.Found {
	var found []network.Found
	for slot, id := range ids {
		found = append(found, network.Found{ID: id, Slot: slot})
	}
	return found
}
