package agent_test

import (
	"testing"
	"testing/synctest"
	"time"
)

// A dyno that starts has the CPUs for itself, but one that takes long does not keep the others from what is made ahead.
func TestNothingIsMadeAheadBesideAStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t, heated(2))
		defer h.leave()
		h.warm(map[int]string{0: "small", 1: "small"})
		release := h.runtime.Hold("Launch")
		h.start(order(first, "worker.1"))
		time.Sleep(4 * time.Second)
		h.warm(map[int]string{1: "small"})
		time.Sleep(2 * time.Second)
		h.warm(map[int]string{1: "small", 2: "small"})
		h.start(order(second, "worker.2"))
		time.Sleep(time.Second)
		h.warm(map[int]string{2: "small"})
		release()
		time.Sleep(time.Second)
		h.warm(map[int]string{2: "small", 3: "small"})
	})
}
