package network_test

import (
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/google/uuid"

	"github.com/dynod/dynod/network"
)

func TestSetupAgainAnswersTheSame(t *testing.T) {
	h := newHost(t)
	id, first := h.setup(7)
	h.serve(first.Namespace, ":3000")
	conn, _, err := h.dial(h.Outside(), onHost(first.HostPort))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	second, err := h.Setup(t.Context(), network.Request{ID: id, Slot: 7, Port: 3000})
	if err != nil || first != second {
		t.Fatalf("again: %+v, %v; first %+v", second, err, first)
	}
	h.still(conn)
}

func TestSetupRefuses(t *testing.T) {
	h := newHost(t)
	id, _ := h.setup(7)
	h.run(h.Lab.Host(), "ip", "link", "add", "dy9", "type", "bridge")
	before := h.snapshot()
	other := uuid.NewString()
	for name, c := range map[string]struct {
		request network.Request
		class   func(error) bool
	}{
		"slot of another dyno": {network.Request{ID: other, Slot: 7, Port: 3000}, errdefs.IsAlreadyExists},
		"other slot":           {network.Request{ID: id, Slot: 8, Port: 3000}, errdefs.IsFailedPrecondition},
		"other port":           {network.Request{ID: id, Slot: 7, Port: 3001}, errdefs.IsFailedPrecondition},
		"foreign link":         {network.Request{ID: other, Slot: 9, Port: 3000}, errdefs.IsFailedPrecondition},
		"slot beyond the last": {network.Request{ID: other, Slot: 100, Port: 3000}, errdefs.IsInvalidArgument},
		"negative slot":        {network.Request{ID: other, Slot: -1, Port: 3000}, errdefs.IsInvalidArgument},
		"no port":              {network.Request{ID: other, Slot: 1}, errdefs.IsInvalidArgument},
		"no id":                {network.Request{Slot: 1, Port: 3000}, errdefs.IsInvalidArgument},
		"id with a way out":    {network.Request{ID: "../x", Slot: 1, Port: 3000}, errdefs.IsInvalidArgument},
		"id with a dash first": {network.Request{ID: "-x", Slot: 1, Port: 3000}, errdefs.IsInvalidArgument},
		"id that is too long":  {network.Request{ID: strings.Repeat("x", 64), Slot: 1, Port: 3000}, errdefs.IsInvalidArgument},
		"policy with a space":  {network.Request{ID: other, Slot: 1, Port: 3000, Policy: "a b"}, errdefs.IsInvalidArgument},
		"id with a colon":      {network.Request{ID: "a:1", Slot: 1, Port: 3000}, errdefs.IsInvalidArgument},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := h.Setup(t.Context(), c.request); !c.class(err) {
				t.Errorf("got %v", err)
			}
		})
	}
	h.nothingBeyond(before)
}

// TestLinksHaveOneQueue: left to itself the kernel makes one for each CPU.
func TestLinksHaveOneQueue(t *testing.T) {
	h := newHost(t)
	_, a := h.setup(7)
	for _, namespace := range []string{h.Lab.Host(), a.Namespace} {
		if got := h.run(namespace, "ip", "-d", "link", "show", "type", "veth"); !strings.Contains(got, "numtxqueues 1 ") || !strings.Contains(got, "numrxqueues 1 ") {
			t.Errorf("link in %s: %s", namespace, got)
		}
	}
}

func TestTeardownLeavesNothingAndMayBeRepeated(t *testing.T) {
	h := newHost(t)
	before := h.snapshot()
	id, _ := h.setup(7)
	h.teardown(id)
	h.teardown(id)
	h.finds()
	h.nothingBeyond(before)
}

// TestSlotIsFreeAtOnce keeps the first dyno's namespace in use, so that its link
// cannot leave by itself.
func TestSlotIsFreeAtOnce(t *testing.T) {
	h := newHost(t)
	h.serve(h.Outside(), outside(80))
	before := h.snapshot()
	for range 5 {
		id, a := h.setup(7)
		h.hold(a.Namespace)
		h.teardown(id)
		if links := h.run(h.Lab.Host(), "ip", "link"); strings.Contains(links, "dy7") {
			t.Errorf("link left:\n%s", links)
		}
		next, b := h.setup(7)
		h.reaches(b.Namespace, outside(80))
		h.finds(network.Found{ID: next, Slot: 7})
		h.teardown(next)
	}
	h.nothingBeyond(before)
}

// TestTeardownForgetsConnections has the dyno torn down by the agent that set it up, and
// by one that found it.
func TestTeardownForgetsConnections(t *testing.T) {
	h := newHost(t)
	h.serve(h.Outside(), outside(80))
	for _, restart := range []bool{false, true} {
		id, a := h.setup(7)
		h.serve(a.Namespace, ":3000")
		h.connected(h.Outside(), onHost(a.HostPort))
		h.connected(a.Namespace, outside(80))
		if n := h.tracked(a.Addr.String()); n < 2 {
			t.Fatalf("%d tracked connections of a dyno with two", n)
		}
		if restart {
			h.restart()
		}
		h.teardown(id)
		if n := h.tracked(a.Addr.String()); n != 0 {
			t.Errorf("restart %v: %d tracked connections after teardown", restart, n)
		}
	}
}
