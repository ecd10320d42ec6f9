package network_test

import (
	"strings"
	"testing"
	"time"
)

// TestOthersStartNoStorm has tables and links of others come and go all the time: what is
// ours is not looked at for that, and what is theirs no oftener than once a second. Ours
// is mended all the same, and theirs left alone.
func TestOthersStartNoStorm(t *testing.T) {
	var log lines
	h := newHost(t)
	h.logTo(&log)
	id, a := h.setup(7)
	h.serve(h.Outside(), outside(80))
	h.watched()
	h.run(h.Lab.Host(), "sh", "-c", "nft add table inet other; nft 'add set inet other sources { type ifname; elements = { dy7 }; }'; ip link add dy9 type bridge; ip link add other0 type dummy 2>/dev/null || ip link add other0 type bridge")
	theirs := h.theirs()
	began := time.Now()
	changes := 0
	for ; time.Since(began) < 4*time.Second; changes++ {
		h.run(h.Lab.Host(), "sh", "-c", "nft 'add table ip storm; add chain ip storm c { type filter hook input priority 5; }'; nft delete table ip storm; "+
			"ip link add dyx type veth peer name storm; ip link set dyx up; ip addr add 10.88.0.1/24 dev dyx; ip link del dyx")
	}
	lasted := time.Since(began)
	ours, others := len(log.with("msg=look at=ours")), len(log.with("msg=look at=others"))
	t.Logf("%d changes in %s: %d looks at ours, %d at theirs", changes, lasted, ours, others)
	if most := 2 + int(lasted/(10*time.Second)); ours > most {
		t.Errorf("%d looks at what is ours in %s, want %d at most", ours, lasted, most)
	}
	if most := 2 + int(lasted/time.Second); others < 2 || others > most {
		t.Errorf("%d looks at what others have in %s, want 2 to %d", others, lasted, most)
	}
	if more := log.with("loaded firewall table"); len(more) != 1 {
		t.Errorf("the table was loaded anew: %q", more)
	}
	h.run(h.Lab.Host(), "ip", "addr", "flush", "dev", "dy7")
	h.soon("mended", func() bool {
		return strings.Contains(h.run(h.Lab.Host(), "ip", "addr", "show", "dev", "dy7"), a.Gateway.String())
	})
	h.reaches(a.Namespace, outside(80))
	h.teardown(id)
	if now := h.theirs(); now != theirs {
		t.Errorf("what is theirs was\n%s\nand is\n%s", theirs, now)
	}
}

// theirs is what others have on the host and keep.
func (h *host) theirs() string {
	h.t.Helper()
	return h.run(h.Lab.Host(), "sh", "-c", "nft -a list table inet other; ip -o link show dev dy9; ip -o link show dev other0")
}
