package network_test

import (
	"context"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dynod/dynod/network"
	"github.com/dynod/dynod/test/lab"
)

// promptly is how long a repair may take on a busy machine: less than it is until
// everything is looked at unasked. The log says what it took; a second is meant.
const promptly = 5 * time.Second

// watched runs the Network until the test ends.
func (h *host) watched() {
	h.t.Helper()
	ctx, stop := context.WithCancel(context.WithoutCancel(h.t.Context()))
	done := make(chan error, 1)
	go func() { done <- h.Network.Run(ctx) }()
	h.t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			h.t.Error(err)
		}
	})
}

// soon fails the test unless ok comes true promptly.
func (h *host) soon(what string, ok func() bool) {
	h.t.Helper()
	begin := time.Now()
	for !ok() {
		if time.Since(begin) > promptly {
			h.t.Errorf("%s: not within %s", what, promptly)
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
	h.t.Logf("%s: after %s", what, time.Since(begin).Round(time.Millisecond))
}

// TestDamageIsMendedPromptly breaks networks while connections go through them.
func TestDamageIsMendedPromptly(t *testing.T) {
	h := newHost(t, policies)
	h.watched()
	h.serve(h.Outside(), outside(80))
	_, a := h.request(7, func(r *network.Request) { r.Policy, r.Space = "only-80", "x" })
	h.serve(a.Namespace, ":3000")
	inward := h.connected(h.Outside(), onHost(a.HostPort))
	outward := h.connected(a.Namespace, outside(80))
	for _, damage := range []string{
		"nft flush ruleset",
		"nft delete table inet dynod",
		"nft flush chain inet dynod protect_host",
		"nft insert rule inet dynod protect_host accept",
		"nft flush map inet dynod ports",
		"nft flush set inet dynod policy_4",
		"nft delete element inet dynod sources { dy7 . 172.16.0.30 }",
		"nft add element inet dynod ports { 80 : 172.16.0.30 . 80 }",
		"nft 'flush map inet dynod ports; add element inet dynod ports { 5007 : 172.16.0.30 . 4000 }'",
		"ip link del dy7",
		"ip link set dy7 down",
		"ip link set dy7 down; ip link set dy7 up",
		"ip neigh del 172.16.0.30 dev dy7",
		"ip route flush dev dy7",
		"ip link set dy7 arp on",
		"ip addr flush dev dy7",
		"ip link set dy7 alias nobody",
		"sh -c 'echo 0 >/proc/sys/net/ipv4/ip_forward'",
	} {
		before := h.condition()
		h.run(h.Lab.Host(), "sh", "-c", damage)
		h.soon(damage, func() bool { return h.condition() == before })
		if now := h.condition(); now != before {
			t.Fatal(cmp.Diff(before, now))
		}
		h.still(inward)
		h.still(outward)
		h.reaches(a.Namespace, outside(80))
		h.reaches(h.Outside(), onHost(a.HostPort))
	}
	h.soon("no warnings", func() bool { return len(h.Warnings()) == 0 })
}

// condition is the host's share of the dynos' networks, without numbers that
// change with every repair.
func (h *host) condition() string {
	h.t.Helper()
	return h.run(h.Lab.Host(), "sh", "-c", "nft --stateless list ruleset; cat /proc/sys/net/ipv4/ip_forward; ip -o -4 addr show | sed 's/^[0-9]*: //'; "+
		"ip neigh show nud permanent | sed 's/lladdr [^ ]*//'; ip route; "+
		"ip -o link show group 25721 | sed -e 's/^[0-9]*: //' -e 's,@[^:]*,,' -e 's,link/ether.*alias,alias,'")
}

// connected is a connection that stays open.
func (h *host) connected(ns, addr string) net.Conn {
	h.t.Helper()
	conn, _, err := h.dial(ns, addr)
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// TestConnectionsMadeWithoutRulesEnd opens what is closed while our rules are gone,
// and somebody else's have connections tracked.
func TestConnectionsMadeWithoutRulesEnd(t *testing.T) {
	h := newHost(t)
	h.serve(h.Lab.Host(), ":80")
	_, a := h.request(0, func(r *network.Request) { r.Space = "x" })
	_, b := h.request(1, func(r *network.Request) { r.Space = "y" })
	h.serve(b.Namespace, ":3000")
	h.serve(b.Namespace, ":4000")
	h.run(h.Outside(), "ip", "route", "add", "172.16.0.0/12", "via", lab.HostAddress)
	stays := h.connected(h.Outside(), onHost(b.HostPort))
	h.run(h.Lab.Host(), "nft", "add table ip other; table ip other { chain c { type filter hook input priority 0; ct state established accept; } \n}")
	h.run(h.Lab.Host(), "nft", "delete", "table", "inet", "dynod")
	h.run(a.Namespace, "nft", "flush", "ruleset")
	ends := map[string]net.Conn{
		"to another dyno": h.connected(a.Namespace, join(b.Addr, 4000)),
		"to the host":     h.connected(a.Namespace, lab.HostAddress+":80"),
		"from outside":    h.connected(h.Outside(), join(b.Addr, 4000)),
	}
	for _, conn := range ends {
		h.still(conn)
	}
	h.restart()
	h.still(stays)
	for what, conn := range ends {
		_ = conn.SetDeadline(time.Now().Add(patience))
		_, _ = conn.Write([]byte("still there?"))
		if n, err := conn.Read(make([]byte, 1)); err == nil {
			t.Errorf("connection %s goes on: %d bytes", what, n)
		}
	}
}

// TestTableIsNotFoughtOver has another program remove the table as soon as it is
// back: it is loaded again, but not as fast as it goes.
func TestTableIsNotFoughtOver(t *testing.T) {
	var log lines
	h := newHost(t)
	h.logTo(&log)
	h.watched()
	loads := func() int { return len(log.with("loaded firewall table")) }
	begin := time.Now()
	for time.Since(begin) < 3*time.Second {
		_ = h.Command(h.Lab.Host(), "nft", "delete", "table", "inet", "dynod").Run() // or it is not yet back
	}
	if n, most := loads(), 8+int(time.Since(begin).Seconds()); n < 6 || n > most {
		t.Errorf("loaded %d times in %s, want 6 to %d", n, time.Since(begin), most)
	}
	if w := h.Warnings(); len(w) != 1 || !strings.Contains(w[0], "keeps changing") {
		t.Errorf("warnings: %q", w)
	}
	h.soon("peace", func() bool {
		return len(h.Warnings()) == 0 && h.Command(h.Lab.Host(), "nft", "list", "chain", "inet", "dynod", "refuse").Run() == nil
	})
}

func TestLostNamespaceIsReported(t *testing.T) {
	h := newHost(t)
	h.watched()
	id, a := h.setup(7)
	_, other := h.setup(8)
	h.serve(h.Outside(), outside(80))
	h.run("", "umount", "--lazy", a.Namespace)
	h.soon("report", func() bool {
		w := h.Warnings()
		return len(w) == 1 && strings.Contains(w[0], id) && strings.Contains(w[0], "namespace")
	})
	h.reaches(other.Namespace, outside(80))
	h.teardown(id)
	if w := h.Warnings(); len(w) > 0 {
		t.Errorf("after teardown: %q", w)
	}
}

// TestBrokenNetworkIsMendedLater has somebody else's link in the way for a while.
func TestBrokenNetworkIsMendedLater(t *testing.T) {
	h := newHost(t)
	id, a := h.setup(7)
	h.serve(h.Outside(), outside(80))
	h.run(h.Lab.Host(), "ip", "link", "del", "dy7")
	h.run(h.Lab.Host(), "ip", "link", "add", "dy7", "type", "veth", "peer", "name", "other")
	h.watched()
	h.soon("report", func() bool {
		w := h.Warnings()
		return len(w) == 1 && strings.Contains(w[0], id)
	})
	h.run(h.Lab.Host(), "ip", "link", "del", "dy7")
	h.soon("all clear", func() bool { return len(h.Warnings()) == 0 })
	h.reaches(a.Namespace, outside(80))
}

func TestOtherFirewallsInTheWayAreNamed(t *testing.T) {
	h := newHost(t)
	h.watched()
	_, a := h.setup(0)
	h.serve(h.Outside(), outside(80))
	for table, chain := range map[string]string{
		"ip docker": "chain FORWARD { type filter hook forward priority 0; policy drop; }",
		"inet wall": "chain forward { type filter hook forward priority 10; policy accept; ip daddr 10.0.0.1 accept; counter reject; }",
	} {
		h.reaches(a.Namespace, outside(80))
		h.run(h.Lab.Host(), "nft", "add table "+table+"; table "+table+" { "+chain+"\n}")
		h.cannotReach(a.Namespace, outside(80)) // so it is in the way
		name := strings.Fields(table)[1]
		h.soon(table, func() bool {
			return slices.ContainsFunc(h.Warnings(), func(w string) bool { return strings.Contains(w, "firewall table "+name) })
		})
		h.run(h.Lab.Host(), "nft", "delete", "table "+table)
		h.soon("all clear", func() bool { return len(h.Warnings()) == 0 })
	}
	h.run(h.Lab.Host(), "nft", "add table inet fine; table inet fine { chain f { type filter hook forward priority 0; oifname nowhere drop; }; chain i { type filter hook input priority 0; policy drop; }; \n}")
	h.soon("looked at", func() bool { return len(h.Warnings()) == 0 })
}

func TestDeniedPacketsAreLogged(t *testing.T) {
	var log lines
	h := newHost(t)
	h.logTo(&log)
	h.watched()
	id, a := h.setup(0)
	begin := time.Now()
	for time.Since(begin) < 2500*time.Millisecond {
		h.cannotReach(a.Namespace, outside(25))
	}
	told := log.with("denied packets")
	if n := len(told); n < 1 || n > 3 {
		t.Errorf("%d lines in 2.5 s: %q", n, told)
	}
	for _, line := range told {
		if !strings.Contains(line, "rules.port=") || !strings.Contains(line, id) {
			t.Errorf("line without rule or dyno: %s", line)
		}
	}
}
