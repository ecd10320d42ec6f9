package agent_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/dynod/dynod/agent"
	"github.com/dynod/dynod/agent/dyno"
	"github.com/dynod/dynod/runtime"
	"github.com/dynod/dynod/test/root"
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

// TestGenerationThatIsNotDurableLeavesTheOldEnd has the disk full when the next generation of a dyno is ordered. Nobody has
// acknowledged how the one before ended.
func TestGenerationThatIsNotDurableLeavesTheOldEnd(t *testing.T) {
	root.Needed(t)
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t, func(c *agent.Config) { c.AwaitReports = true })
		if err := unix.Mount("tmpfs", h.records, "tmpfs", 0, "size=64k"); err != nil {
			t.Fatal(err)
		}
		defer func() { _ = unix.Unmount(h.records, unix.MNT_DETACH) }()
		h.start(order(first, "worker.1"))
		h.runtime.Exit(first, runtime.Exit{Code: 3})
		before := h.phase(first, dyno.Crashed)
		ballast := filepath.Join(h.records, "ballast")
		if err := os.WriteFile(ballast, bytes.Repeat([]byte{1}, 64<<10), 0o600); !errors.Is(err, unix.ENOSPC) {
			t.Fatal(err)
		}
		next := order(first, "worker.1")
		next.Generation, next.Spec.Secret.Environment = 2, map[string]string{"KEY": "other"}
		if _, err := h.Start(t.Context(), next); !errdefs.IsUnavailable(err) {
			t.Errorf("start: %v", err)
		}
		if err := os.Remove(ballast); err != nil {
			t.Fatal(err)
		}
		h.leave()
		h.arrive()
		defer func() { h.leave() }()
		after := h.phase(first, dyno.Crashed)
		if diff := cmp.Diff(before.Record, after.Record); diff != "" {
			t.Error(diff)
		}
	})
}
