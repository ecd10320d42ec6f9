package agent_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/containerd/errdefs"

	"github.com/dynod/dynod/agent"
	"github.com/dynod/dynod/agent/dyno"
	"github.com/dynod/dynod/runtime"
)

// names are those of what is cached.
func (h *host) names() []string {
	h.t.Helper()
	all, err := h.Artifacts(h.t.Context())
	if err != nil {
		h.t.Fatal(err)
	}
	var names []string
	for _, c := range all {
		names = append(names, c.Name)
	}
	return names
}

func TestCacheIsKeptSmall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t, func(c *agent.Config) { c.Keeping = dyno.Keeping{MaxUnused: 14 * 24 * time.Hour} })
		defer h.leave()
		old := time.Now().Add(-15 * 24 * time.Hour)
		all := []runtime.Cached{{Name: "old", Used: old}, {Name: "old but used", Used: old, References: 1}, {Name: "stack", Used: old, Stack: true}, {Name: "young", Used: time.Now()}}
		h.runtime.Cache(all...)
		synctest.Wait()
		if got := h.names(); len(got) != 4 {
			t.Errorf("at once: %q", got)
		}
		h.runtime.Arrive()
		synctest.Wait()
		if got := h.names(); !slices.Equal(got, []string{"old but used", "stack", "young"}) {
			t.Errorf("after a fetch: %q", got)
		}
		h.runtime.Fail("Remove", errdefs.ErrUnavailable)
		h.runtime.Cache(all...)
		time.Sleep(6 * time.Minute)
		h.runtime.Fail("Remove", nil)
		time.Sleep(5 * time.Minute)
		if got := h.names(); !slices.Equal(got, []string{"old but used", "stack", "young"}) {
			t.Errorf("after a while: %q", got)
		}
		removed, err := h.Prune(t.Context(), 0)
		if err != nil || len(removed) != 1 || removed[0].Name != "young" {
			t.Errorf("pruned %+v, %v", removed, err)
		}
	})
}

// TestCrashedDynoKeepsItsArtifact until its last life is over, and not longer.
func TestCrashedDynoKeepsItsArtifact(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t)
		defer h.leave()
		o := order(first, "worker.1")
		o.Spec.Restart = dyno.Policy{Backoff: true, Delays: []time.Duration{time.Hour}}
		h.start(o)
		h.phase(first, dyno.Up)
		if !h.runtime.Holds(first) {
			t.Error("a running dyno holds nothing")
		}
		h.runtime.Exit(first, runtime.Exit{Code: 1})
		h.phase(first, dyno.Crashed)
		synctest.Wait()
		if !h.runtime.Holds(first) {
			t.Error("a dyno that waits for its next life holds nothing")
		}
		h.stop(first, 1)
		h.phase(first, dyno.Down)
		synctest.Wait()
		if h.runtime.Holds(first) {
			t.Error("a dyno that was stopped holds its artifact")
		}
	})
}

func TestImageThatDoesNotFit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t)
		defer h.leave()
		h.runtime.Prepared(runtime.Prepared{Dir: "/workspace", Buildpacks: &runtime.Buildpacks{Types: []string{"web"}}})
		o := order(first, "worker.1")
		o.Spec.Artifact, o.Spec.Secret, o.Spec.Command = dyno.Artifact{Image: "app:1"}, dyno.Secret{}, dyno.Command{}
		h.start(o)
		crashed := h.phase(first, dyno.Crashed)
		if crashed.Exit.Error != dyno.R99 || h.runtime.Creates() != 0 {
			t.Errorf("exit %+v, %d containers", crashed.Exit, h.runtime.Creates())
		}
		h.said(first, `Error R99 (Platform error) -> The image has no process type "worker"; it has: "web"`, "State changed from starting to crashed")
	})
}

// A caller without a deadline gets an answer all the same, though nobody else answers.
func TestCallsOfTheCacheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t)
		defer h.leave()
		h.runtime.Cache(runtime.Cached{Name: "old"})
		defer h.runtime.Hold("Remove")()
		if _, err := h.Prune(t.Context(), 0); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("prune: %v", err)
		}
		defer h.runtime.Hold("Artifacts")()
		if _, err := h.Artifacts(t.Context()); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("list: %v", err)
		}
	})
}
