package network_test

import (
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/google/uuid"

	"github.com/dynod/dynod/network"
)

func TestSetupTakesWhatPrepareMade(t *testing.T) {
	h := newHost(t)
	before := h.snapshot()
	h.serve(h.Outside(), outside(80))
	h.prepare(7)
	h.prepare(7)
	h.finds()
	made := h.inode(h.config().Dir + "/+7/ns")
	id, a := h.setup(7)
	if h.inode(a.Namespace) != made {
		t.Error("another namespace than the one made ahead")
	}
	h.finds(network.Found{ID: id, Slot: 7})
	h.reaches(a.Namespace, outside(80))
	h.serveOnce(a)
	h.restart() // loses what is not marked as the dyno's
	h.reaches(a.Namespace, outside(80))
	h.serveOnce(a)
	h.teardown(id)
	h.finds()
	h.nothingBeyond(before)
}

func TestSpareIsTakenForAnotherPort(t *testing.T) {
	h := newHost(t)
	h.prepare(7)
	r, a := h.request(7, func(r *network.Request) { r.Port = 8080 })
	h.serve(a.Namespace, ":8080")
	h.reaches(h.Outside(), onHost(a.HostPort))
	h.restart()
	h.reaches(h.Outside(), onHost(a.HostPort))
	h.again(r)
	r.Port = 3000
	_, err := h.Setup(t.Context(), r)
	if !errdefs.IsFailedPrecondition(err) {
		t.Errorf("other port: %v", err)
	}
}

func TestPrepareRefusesASlotInUse(t *testing.T) {
	h := newHost(t)
	_, a := h.setup(7)
	before := h.snapshot()
	if _, err := h.Prepare(t.Context(), 7); !errdefs.IsAlreadyExists(err) {
		t.Errorf("got %v", err)
	}
	if _, err := h.Prepare(t.Context(), 100); !errdefs.IsInvalidArgument(err) {
		t.Errorf("got %v", err)
	}
	h.nothingBeyond(before)
	h.serve(a.Namespace, ":3000")
	h.reaches(h.Outside(), onHost(a.HostPort))
}

func TestNewRemovesSpares(t *testing.T) {
	h := newHost(t)
	before := h.snapshot()
	for slot := range 5 {
		h.prepare(slot)
	}
	h.restart()
	h.nothingBeyond(before)
}

// TestDamagedSpareIsReplaced breaks a spare in the ways that an agent killed
// while it takes one, or an operator, leaves it.
func TestDamagedSpareIsReplaced(t *testing.T) {
	h := newHost(t)
	h.serve(h.Outside(), outside(80))
	before := h.snapshot()
	id := uuid.NewString()
	spare := h.config().Dir + "/+7"
	for name, damage := range map[string]func(){
		"no link":      func() { h.run(h.Lab.Host(), "ip", "link", "del", "dy7") },
		"no namespace": func() { h.run("", "umount", "--lazy", spare+"/ns") },
		"no directory": func() {
			h.run("", "umount", "--lazy", spare+"/ns", spare+"/sys")
			h.run("", "rm", "-r", spare)
		},
		"link taken": func() { h.run(h.Lab.Host(), "ip", "link", "set", "dy7", "alias", "dynod:"+id+":3000") },
		"claim gone": func() { h.run("", "rm", spare+"/claim") },
	} {
		for _, restart := range []bool{false, true} {
			h.prepare(7)
			damage()
			if restart {
				h.restart()
			}
			a, err := h.Setup(t.Context(), network.Request{ID: id, Slot: 7, Port: 3000})
			if err != nil {
				t.Fatalf("%s, restart %v: %v", name, restart, err)
			}
			h.reaches(a.Namespace, outside(80))
			h.serveOnce(a)
			h.teardown(id)
			h.finds()
			h.restart()
			h.nothingBeyond(before)
		}
	}
}

// TestSpareLearnsOfNewAddresses gives the host another address, as DHCP does after a
// boot, when a network has been made ahead.
func TestSpareLearnsOfNewAddresses(t *testing.T) {
	const late = "10.98.0.1"
	h := newHost(t)
	h.setup(8)
	h.prepare(7)
	made := h.inode(h.config().Dir + "/+7/ns")
	h.run(h.Lab.Host(), "sh", "-c", "ip addr add "+late+"/32 dev lo; ip link set dy8 down")
	h.watched()
	h.soon("looked at", func() bool { return strings.Contains(h.condition(), "dy8 proto kernel") })
	_, a := h.setup(7)
	if h.inode(a.Namespace) != made {
		t.Error("another namespace than the one made ahead")
	}
	walls := h.run(a.Namespace, "nft", "list", "ruleset")
	if !strings.Contains(walls, late) || strings.Count(walls, "table ip ") != 1 {
		t.Errorf("the wall does not close %s, or is not the only one:\n%s", late, walls)
	}
	h.serve(h.Outside(), outside(80))
	h.reaches(a.Namespace, outside(80))
}

// TestSpareIsCompletedAhead: no order waits for what can be done before it.
func TestSpareIsCompletedAhead(t *testing.T) {
	const late = "10.98.0.2"
	h := newHost(t)
	h.setup(8)
	h.prepare(7)
	h.run(h.Lab.Host(), "sh", "-c", "ip addr add "+late+"/32 dev lo; ip link set dy8 down")
	h.watched()
	h.soon("looked at", func() bool { return strings.Contains(h.condition(), "dy8 proto kernel") })
	h.prepare(7)
	if walls := h.run(h.config().Dir+"/+7/ns", "nft", "list", "ruleset"); !strings.Contains(walls, late) {
		t.Errorf("the wall does not close %s:\n%s", late, walls)
	}
	h.setup(7)
}

// TestDamagedSpareIsMendedWhenTaken: what takes routes or neighbours of all links takes those of spares too.
func TestDamagedSpareIsMendedWhenTaken(t *testing.T) {
	h := newHost(t)
	h.serve(h.Outside(), outside(80))
	h.watched()
	h.setup(9)
	for slot, damage := range []string{"ip route flush dev dy0", "ip neigh flush dev dy1 nud permanent", "ip link set dy2 down; ip link set dy2 up"} {
		h.prepare(slot)
		h.run(h.Lab.Host(), "sh", "-c", damage+"; ip route flush dev dy9")
		h.soon("news", func() bool { return strings.Contains(h.condition(), "dev dy9 proto kernel") })
		_, a := h.setup(slot)
		link := "dy" + strconv.Itoa(slot)
		route := h.run(h.Lab.Host(), "ip", "route", "show", "dev", link)
		neighbour := h.run(h.Lab.Host(), "ip", "neigh", "show", "dev", link, "nud", "permanent")
		if route == "" || neighbour == "" {
			t.Errorf("%s: route %q, neighbour %q", damage, route, neighbour)
		}
		h.reaches(a.Namespace, outside(80))
	}
}

func (h *host) prepare(slot int) {
	h.t.Helper()
	if _, err := h.Prepare(h.t.Context(), slot); err != nil {
		h.t.Fatal(err)
	}
}

// inode is what tells one namespace from another.
func (h *host) inode(ns string) string {
	h.t.Helper()
	if _, err := os.Stat(ns); err != nil {
		h.t.Fatal(err)
	}
	return strings.TrimSpace(h.run("", "stat", "-L", "-c", "%i", ns))
}
