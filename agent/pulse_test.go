package agent_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/containerd/errdefs"

	"github.com/dynod/dynod/agent"
	"github.com/dynod/dynod/agent/dyno"
)

func TestPulse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t)
		defer h.leave()
		h.start(order(first, "worker.1"))
		h.start(order(second, "worker.2"))
		h.stop(second, 1)
		h.phase(second, dyno.Down)
		if err := pulse(h.Agent); err != nil {
			t.Error(err)
		}
	})
}

func TestPulseWhileContainerdIsAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t)
		defer h.leave()
		h.start(order(first, "worker.1"))
		h.runtime.Fail("Ping", errdefs.ErrUnavailable)
		time.Sleep(time.Minute)
		if _, err := h.Start(t.Context(), order(second, "worker.2")); !errdefs.IsUnavailable(err) {
			t.Errorf("containerd is not away: %v", err)
		}
		if err := pulse(h.Agent); err != nil {
			t.Error(err)
		}
	})
}

func TestNoPulseOfAStuckRunner(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t)
		defer h.leave()
		h.start(order(first, "worker.1"))
		end := make(chan struct{})
		h.logs.Stall(end)
		go h.Stop(t.Context(), agent.StopOrder{ID: first, Generation: 1}) //nolint:errcheck // it hangs
		synctest.Wait()
		if err := pulse(h.Agent); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("pulse of an agent whose runner is stuck: %v", err)
		}
		close(end)
	})
}

func pulse(a *agent.Agent) error {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	return a.Pulse(ctx)
}
