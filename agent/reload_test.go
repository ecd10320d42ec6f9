package agent_test

import (
	"maps"
	"testing"
	"testing/synctest"

	"github.com/dynod/dynod/agent/dyno"
	"github.com/dynod/dynod/runtime"
)

func TestReloadHoldsForLaterOrders(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t)
		defer h.leave()
		h.start(order(first, "worker.1"))
		next := h.config
		next.Host, next.Slots = "other", 1
		next.Defaults.Port = 7777
		next.Defaults.Sizes = maps.Clone(next.Defaults.Sizes)
		next.Defaults.Sizes["standard-1x"] = dyno.Limits{
			Memory: 64 << 20, R15Percent: 200, CPUWeight: 7, Pids: 9, Files: 100,
			MemoryHigh: 50, IOWeight: 11, IOBytes: 12, IOOperations: 13,
		}
		next.Resolv = []byte("nameserver 10.0.0.9\n")
		h.Reload(next)
		s := h.start(order(second, "worker.2"))
		if s.Spec.Port != 7777 || s.Spec.Limits.Pids != 9 {
			t.Errorf("a later order got port %d, limits %+v", s.Spec.Port, s.Spec.Limits)
		}
		made := h.runtime.Made(second)
		want := runtime.Limits{Memory: 64 << 20, MemoryHigh: 32 << 20, CPUWeight: 7, Pids: 9, IO: runtime.IO{Weight: 11, Bytes: 12, Operations: 13}}
		if made.Limits != want || string(made.Resolv) != string(next.Resolv) {
			t.Errorf("a later dyno is made of %+v", made)
		}
		if s := h.phase(first, dyno.Up); s.Spec.Port != 5000 || s.Spec.Limits.Pids != 256 {
			t.Errorf("an earlier dyno has port %d, limits %+v", s.Spec.Port, s.Spec.Limits)
		}
		if host := h.Host(); host.Name != "h" || host.Slots != 4 {
			t.Errorf("the host is %s with %d slots", host.Name, host.Slots)
		}
	})
}
