package agent_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dynod/dynod/agent"
	"github.com/dynod/dynod/agent/agenttest"
	"github.com/dynod/dynod/agent/dyno"
)

// Few are looked at again at once, but those that hang keep neither the others nor orders waiting.
func TestDynosAreLookedAtAFewAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const few, all = 4, 6
		h := newHost(t, func(c *agent.Config) { c.Slots, c.Memory = all, all<<30 })
		for i := range all {
			h.start(order(nth(i), fmt.Sprintf("web.%d", i+1)))
		}
		h.leave()
		h.network = agenttest.NewNetwork() // counts who asks anew
		release := h.runtime.Hold("Prepare")
		h.arrive()
		select {
		case <-h.Ready():
		default:
			t.Error("not ready while dynos hang")
		}
		if n := h.asked(all); n != few {
			t.Errorf("%d of %d are looked at at once", n, all)
		}
		h.stop(nth(0), 1)
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if n := h.asked(all); n != all {
			t.Errorf("%d of %d are looked at beside others that hang", n, all)
		}
		release()
		h.phase(nth(0), dyno.Down)
		h.leave()
	})
}

// asked is how many of the first dynos have asked for their network.
func (h *host) asked(all int) (n int) {
	for i := range all {
		if h.network.Request(nth(i)).ID != "" {
			n++
		}
	}
	return n
}
