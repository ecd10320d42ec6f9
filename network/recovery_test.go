package network_test

import (
	"strings"
	"testing"

	"github.com/dynod/dynod/network"
)

// TestForeignObjectsStay puts things in the way that look like ours.
func TestForeignObjectsStay(t *testing.T) {
	h := newHost(t)
	h.run(h.Lab.Host(), "ip", "link", "add", "dy9", "type", "bridge")
	h.run(h.Lab.Host(), "ip", "link", "set", "dy9", "alias", "dynod:foreign:3000", "up")
	h.run(h.Lab.Host(), "nft", "add table inet other; add set inet other sources { type ifname; }")
	h.run("", "touch", h.config().Dir+"/a-file")
	h.run("", "mkdir", h.config().Dir+"/Not an id")
	before := h.snapshot()
	h.restart()
	h.finds()
	id, _ := h.setup(8)
	h.teardown(id)
	h.teardown("foreign")
	after := h.snapshot()
	for line := range before {
		if after[line] < before[line] {
			t.Errorf("gone: %s", line)
		}
	}
	h.nothingBeyond(before)
	h.run("", "rm", h.config().Dir+"/a-file")
	h.run("", "rmdir", h.config().Dir+"/Not an id")
}

func TestNewTakesOverLivingDynos(t *testing.T) {
	h := newHost(t)
	h.serve(h.Outside(), outside(80))
	id, a := h.setup(7)
	other, _ := h.setup(8)
	h.serve(a.Namespace, ":3000")
	inward, _, err := h.dial(h.Outside(), onHost(a.HostPort))
	if err != nil {
		t.Fatal(err)
	}
	defer inward.Close()
	outward, _, err := h.dial(a.Namespace, outside(80))
	if err != nil {
		t.Fatal(err)
	}
	defer outward.Close()

	before := h.snapshot()
	h.restart()
	h.nothingBeyond(before)
	h.still(inward)
	h.still(outward)
	h.reaches(a.Namespace, outside(80))
	h.reaches(h.Outside(), onHost(a.HostPort))
	h.finds(network.Found{ID: id, Slot: 7}, network.Found{ID: other, Slot: 8})
}

// TestTeardownLeavesAnothersSlot tears down a dyno that has claimed a slot and
// got no further, before another dyno got that slot.
func TestTeardownLeavesAnothersSlot(t *testing.T) {
	h := newHost(t)
	h.serve(h.Outside(), outside(80))
	loser := h.config().Dir + "/loser"
	h.run("", "mkdir", loser)
	h.run("", "ln", "-s", "7:3000", loser+"/claim")
	winner, a := h.setup(7)
	h.serve(a.Namespace, ":3000")
	h.finds(network.Found{ID: winner, Slot: 7}, network.Found{ID: "loser", Slot: 7})
	h.teardown("loser")
	h.finds(network.Found{ID: winner, Slot: 7})
	h.reaches(a.Namespace, outside(80))
	h.reaches(h.Outside(), onHost(a.HostPort))
}

// TestFoundAndMended breaks a dyno's network in the ways that an agent killed
// within Setup or Teardown, or an operator, leaves it. It must be found, be
// mended by Setup, and be removed by Teardown.
func TestFoundAndMended(t *testing.T) {
	h := newHost(t)
	h.serve(h.Outside(), outside(80))
	before := h.snapshot()
	for name, damage := range map[string]func(a network.Attachment, dir string){
		"no address inside": func(a network.Attachment, _ string) { h.run(a.Namespace, "ip", "addr", "flush", "dev", "eth0") },
		"inside down":       func(a network.Attachment, _ string) { h.run(a.Namespace, "ip", "link", "set", "eth0", "down") },
		"no gateway":        func(network.Attachment, string) { h.run(h.Lab.Host(), "ip", "addr", "flush", "dev", "dy7") },
		"host's end down":   func(network.Attachment, string) { h.run(h.Lab.Host(), "ip", "link", "set", "dy7", "down") },
		"no owner":          func(network.Attachment, string) { h.run(h.Lab.Host(), "ip", "link", "set", "dy7", "alias", "") },
		"no link":           func(network.Attachment, string) { h.run(h.Lab.Host(), "ip", "link", "del", "dy7") },
		"no source": func(network.Attachment, string) {
			h.run(h.Lab.Host(), "nft", "flush", "set", "inet", "dynod", "sources")
		},
		"no port":      func(network.Attachment, string) { h.run(h.Lab.Host(), "nft", "flush", "map", "inet", "dynod", "ports") },
		"no table":     func(network.Attachment, string) { h.run(h.Lab.Host(), "nft", "delete", "table", "inet", "dynod") },
		"no sysfs":     func(a network.Attachment, _ string) { h.run("", "umount", "--lazy", a.Sysfs) },
		"no namespace": func(a network.Attachment, _ string) { h.run("", "umount", "--lazy", a.Namespace) },
		"no directory": func(a network.Attachment, dir string) {
			h.hold(a.Namespace)
			h.run("", "umount", "--lazy", a.Namespace, a.Sysfs)
			h.run("", "rm", "-r", dir)
		},
		"sysfs twice":       func(a network.Attachment, _ string) { h.run("", "mount", "--bind", a.Sysfs, a.Sysfs) },
		"another's element": func(network.Attachment, string) { h.run(h.Lab.Host(), "nft", strings.Join(anothersElement, ";")) },
	} {
		for _, restart := range []bool{false, true} {
			id, a := h.setup(7)
			damage(a, strings.TrimSuffix(a.Namespace, "/ns"))
			if restart && name != "no table" {
				h.restart()
			}
			if !h.found(network.Found{ID: id, Slot: 7}) {
				t.Errorf("%s: not found", name)
			}
			if _, err := h.Setup(t.Context(), network.Request{ID: id, Slot: 7, Port: 3000}); err != nil {
				t.Fatalf("%s, restart %v: %v", name, restart, err)
			}
			h.restart() // loses what is not mended
			h.reaches(a.Namespace, outside(80))
			h.serveOnce(a)

			damage(a, strings.TrimSuffix(a.Namespace, "/ns"))
			h.teardown(id)
			h.finds()
			if name == "no table" {
				h.restart()
			}
			h.nothingBeyond(before)
		}
	}
}

var anothersElement = []string{
	"flush map inet dynod ports",
	"add element inet dynod ports { 5007 : 172.16.0.30 . 4000 }",
}

// serveOnce checks the host port with a listener that goes again.
func (h *host) serveOnce(a network.Attachment) {
	h.t.Helper()
	h.t.(*testing.T).Run("port", func(t *testing.T) {
		sub := *h
		sub.t = t
		sub.serve(a.Namespace, ":3000")
		sub.reaches(h.Outside(), onHost(a.HostPort))
	})
}
