package network_test

import (
	"net/netip"
	"testing"

	"github.com/google/uuid"

	"github.com/dynod/dynod/network"
	"github.com/dynod/dynod/test/lab"
)

// request sets up a dyno that differs from others by change.
func (h *host) request(slot int, change func(*network.Request)) (network.Request, network.Attachment) {
	h.t.Helper()
	r := network.Request{ID: uuid.NewString(), Slot: slot, Port: 3000}
	change(&r)
	return r, h.again(r)
}

func (h *host) again(r network.Request) network.Attachment {
	h.t.Helper()
	a, err := h.Setup(h.t.Context(), r)
	if err != nil {
		h.t.Fatal(err)
	}
	return a
}

func destination(prefix string, port uint16) network.Destination {
	return network.Destination{Prefix: netip.MustParsePrefix(prefix), Port: port}
}

func policies(c *network.Config) {
	c.Policies = map[string]network.Policy{
		"only-80": {Allow: []network.Destination{destination("10.99.0.0/24", 80)}},
		"no-80":   {Deny: []network.Destination{destination(lab.OutsideAddress+"/32", 80)}},
		"narrow": {
			Allow: []network.Destination{destination("10.99.0.0/24", 0)},
			Deny:  []network.Destination{destination("10.99.0.0/24", 80)},
		},
		"elsewhere": {Allow: []network.Destination{destination("10.98.0.0/16", 0)}},
	}
}

// TestPolicyDecidesWhatIsOpen looks at networks made on order, made ahead and
// taken over by a new agent.
func TestPolicyDecidesWhatIsOpen(t *testing.T) {
	h := newHost(t, policies)
	h.serve(h.Outside(), outside(80))
	h.serve(h.Outside(), outside(81))
	ns := map[string]string{}
	slot := 0
	open := map[string][2]bool{ // ports 80 and 81
		"": {true, true}, "default": {true, true}, "only-80": {true, false}, "no-80": {false, true}, "narrow": {false, true},
		"elsewhere": {false, false}, "unknown": {false, false},
	}
	for policy := range open {
		for range 2 {
			_, a := h.request(slot, func(r *network.Request) { r.Policy = policy })
			ns[a.Namespace] = policy
			slot++
			h.prepare(slot) // of which the second one takes one
		}
	}
	for range 2 {
		for ns, policy := range ns {
			for i, open := range open[policy] {
				if open {
					h.reaches(ns, outside(80+i))
				} else {
					h.cannotReach(ns, outside(80+i))
				}
			}
		}
		h.denied("denied_policy")
		h.restart()
	}
}

func TestPolicyChangesInALife(t *testing.T) {
	h := newHost(t, policies)
	h.serve(h.Outside(), outside(80))
	before := h.snapshot()
	r, a := h.request(0, func(r *network.Request) {})
	conn, _, err := h.dial(a.Namespace, outside(80))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	r.Policy = "no-80"
	h.again(r)
	h.cannotReach(a.Namespace, outside(80))
	h.still(conn)
	r.Policy = "default"
	h.again(r)
	h.reaches(a.Namespace, outside(80))
	_ = conn.Close()
	h.teardown(r.ID)
	h.nothingBeyond(before)
}

func TestDynosOfOneSpaceReachOneAnother(t *testing.T) {
	h := newHost(t)
	in := func(space string) func(*network.Request) { return func(r *network.Request) { r.Space = space } }
	before := h.snapshot()
	ra, a := h.request(0, in("x"))
	h.prepare(1)
	rb, b := h.request(1, in("x"))
	rc, c := h.request(2, in("y"))
	rd, d := h.request(3, in(""))
	all := []network.Attachment{a, b, c, d}
	for _, a := range all {
		h.serve(a.Namespace, ":4000")
	}
	for range 2 {
		if seen := h.reaches(a.Namespace, join(b.Addr, 4000)); seen != a.Addr.String() {
			t.Errorf("seen as %s, not by its own address", seen)
		}
		h.reaches(b.Namespace, join(a.Addr, 4000))
		for _, from := range all {
			for _, to := range all {
				apart := from != to && (from == c || to == c || from == d || to == d)
				if apart {
					h.cannotReach(from.Namespace, join(to.Addr, 4000))
				}
			}
		}
		h.denied("denied_dyno")
		h.restart()
	}
	rb.Space = "y"
	h.again(rb)
	h.cannotReach(a.Namespace, join(b.Addr, 4000))
	h.reaches(c.Namespace, join(b.Addr, 4000))
	for _, r := range []network.Request{ra, rb, rc, rd} {
		h.teardown(r.ID)
	}
	h.nothingBeyond(before)
}

func TestHostPortsAreOpenToDynos(t *testing.T) {
	h := newHost(t, func(c *network.Config) { c.HostPorts = []uint16{53} })
	_, a := h.setup(0)
	h.serve(h.Lab.Host(), ":53")
	h.serve(h.Lab.Host(), ":54")
	h.reaches(a.Namespace, a.Gateway.String()+":53")
	h.reaches(a.Namespace, lab.HostAddress+":53")
	h.cannotReach(a.Namespace, a.Gateway.String()+":54")
	h.cannotReach(a.Namespace, lab.HostAddress+":54")
}

func TestDynosAreReachedByListedLinksOnly(t *testing.T) {
	for link, open := range map[string]bool{lab.HostLink: true, "eth7": false} {
		t.Run(link, func(t *testing.T) {
			h := newHost(t, func(c *network.Config) { c.Listen = []string{link} })
			_, a := h.setup(0)
			h.serve(a.Namespace, ":3000")
			h.reaches(h.Lab.Host(), onHost(a.HostPort))
			if open {
				h.reaches(h.Outside(), onHost(a.HostPort))
			} else {
				h.cannotReach(h.Outside(), onHost(a.HostPort))
			}
		})
	}
}

func TestRoutedDynoIsReachedByItsAddress(t *testing.T) {
	h := newHost(t, func(c *network.Config) { c.Routed = true })
	before := h.snapshot()
	h.serve(h.Outside(), outside(80))
	h.run(h.Outside(), "ip", "route", "add", "172.16.0.0/12", "via", lab.HostAddress)
	h.prepare(0)
	id, a := h.setup(0)
	h.serve(a.Namespace, ":3000")
	h.serve(a.Namespace, ":3001")
	for range 2 {
		h.reaches(h.Outside(), join(a.Addr, 3000))
		h.cannotReach(h.Outside(), join(a.Addr, 3001))
		h.denied("denied_inward")
		h.reaches(h.Outside(), onHost(a.HostPort))
		if seen := h.reaches(a.Namespace, outside(80)); seen != a.Addr.String() {
			t.Errorf("outside saw %s, want the dyno's own address", seen)
		}
		h.restart()
	}
	h.teardown(id)
	h.run(h.Outside(), "ip", "route", "del", "172.16.0.0/12")
	h.nothingBeyond(before)
}
