package network_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dynod/dynod/network"
	"github.com/dynod/dynod/test/lab"
)

// survey opens a Survey of the lab's host.
func (h *host) survey() (s *network.Survey) {
	h.t.Helper()
	err := h.Do(h.Lab.Host(), func() (err error) {
		s, err = network.NewSurvey(h.config())
		return err
	})
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() {
		if err := s.Close(); err != nil {
			h.t.Error(err)
		}
	})
	return s
}

// named are the obstacles that a survey finds, a line each.
func (h *host) named() string {
	h.t.Helper()
	found, err := h.survey().Obstacles()
	if err != nil {
		h.t.Fatal(err)
	}
	var lines []string
	for _, o := range found {
		lines = append(lines, o.String())
	}
	return strings.Join(lines, "\n")
}

// walls are rules in the words of iptables, each with what is said of them. Nothing
// is said of what lets dynos through.
var walls = []struct{ name, rules, said string }{
	{"none", "", ""},
	{"policy", "-P FORWARD DROP", "by its policy"},
	{"policy and both accepted", "-P FORWARD DROP; -A FORWARD -i dy+ -j ACCEPT; -A FORWARD -o dy+ -j ACCEPT", ""},
	{"policy and one link accepted", "-P FORWARD DROP; -A FORWARD -i dy0 -j ACCEPT; -A FORWARD -o dy0 -j ACCEPT", ""},
	{"policy and another link accepted", "-P FORWARD DROP; -A FORWARD -i dy -j ACCEPT; -A FORWARD -o dy -j ACCEPT", "by its policy"},
	{"policy and one way accepted", "-P FORWARD DROP; -A FORWARD -i dy+ -j ACCEPT", "by its policy"},
	{"reject", "-A FORWARD -p udp -j ACCEPT; -A FORWARD -j REJECT", "by rule 2 of chain FORWARD"},
	{"chain", "-N wall; -A FORWARD -j wall; -A wall -p udp -j ACCEPT; -A wall -j DROP", "by rule 2 of chain wall"},
	{"chain with a way back", "-N wall; -A FORWARD -j wall; -A wall -j RETURN; -A wall -j DROP", ""},
	{"chain of Docker", "-P FORWARD DROP; -N DOCKER-USER; -A FORWARD -j DOCKER-USER; -A DOCKER-USER -j RETURN", "Docker keeps it"},
	{"accepted for Docker", "-P FORWARD DROP; -N DOCKER-USER; -A FORWARD -j DOCKER-USER; -A DOCKER-USER -i dy+ -j ACCEPT; -A DOCKER-USER -o dy+ -j ACCEPT", ""},
	{"no way back", "-N wall; -A FORWARD -g wall; -A FORWARD -j DROP; -A wall -p udp -j DROP", ""},
	{"all but a link", "-A FORWARD ! -i lo -j DROP", "by rule 1 of chain FORWARD"},
	{"another link", "-A FORWARD -i docker0 -j DROP; -A FORWARD ! -i docker0 -o docker0 -j DROP", ""},
	{"a port", "-A FORWARD -p tcp --dport 99 -j DROP", ""},
	{"a network", "-A FORWARD -s 192.168.0.0/16 -j DROP; -A FORWARD -d 192.168.0.0/16 -j DROP", ""},
	{"another table", "-t mangle -P FORWARD DROP", "table mangle"},
	{"another hook", "-P INPUT DROP", ""},
}

// TestWallsAreNamed puts up walls by both of the kernel's firewalls. What is said of
// each is held against what packets do.
func TestWallsAreNamed(t *testing.T) {
	for program, kind := range map[string]string{"iptables-nft": "firewall table", "iptables-legacy": "iptables-legacy table"} {
		for _, c := range walls {
			t.Run(program+" "+c.name, func(t *testing.T) {
				h := newHost(t)
				_, a := h.setup(0)
				h.serve(h.Outside(), outside(80))
				h.serve(a.Namespace, ":3000")
				h.build(program, c.rules)
				if open := h.passes(c.said, a.Namespace, outside(80)) && h.passes(c.said, h.Outside(), onHost(a.HostPort)); open != (c.said == "") {
					t.Fatalf("packets pass: %t", open)
				}
				got := h.named()
				if !strings.Contains(got, c.said) || c.said != "" && !strings.Contains(got, kind) || c.said == "" && got != "" {
					t.Errorf("said %q", got)
				}
			})
		}
	}
}

// Words of nftables that iptables has not.
var nftWalls = []struct{ name, table, said string }{
	{"before routing", "inet w { chain c { type filter hook prerouting priority -400; policy drop; }; }", "chain c of firewall table w"},
	{"after routing", "ip w { chain c { type filter hook postrouting priority 0; policy accept; drop; }; }", "by rule 1 of chain c"},
	{"by group", "inet w { chain c { type filter hook forward priority 0; policy drop; iifgroup 25721 accept; oifgroup 25721 accept; }; }", ""},
	{"by another group", "inet w { chain c { type filter hook forward priority 0; policy drop; iifgroup 1 accept; oifgroup 25721 accept; }; }", "its policy"},
	{"by index", "ip w { chain c { type filter hook forward priority 0; iif != lo drop; }; }", "by rule 1"},
	{"IPv6 alone", "ip6 w { chain c { type filter hook forward priority 0; policy drop; }; }", ""},
	{"firewalld's", "inet w { chain filter_FORWARD { type filter hook forward priority 10; ct state established,related accept; reject with icmpx admin-prohibited; }; }", "firewalld keeps it"},
}

func TestWallsOfNftablesAreNamed(t *testing.T) {
	for _, c := range nftWalls {
		t.Run(c.name, func(t *testing.T) {
			h := newHost(t)
			_, a := h.setup(0)
			h.serve(h.Outside(), outside(80))
			h.run(h.Lab.Host(), "nft", "table "+c.table)
			if open := h.passes(c.said, a.Namespace, outside(80)); open != (c.said == "") {
				t.Fatalf("packets pass: %t", open)
			}
			if got := h.named(); !strings.Contains(got, c.said) || (got == "") != (c.said == "") {
				t.Errorf("said %q", got)
			}
		})
	}
}

func (h *host) build(program, rules string) {
	h.t.Helper()
	for _, rule := range strings.Split(rules, "; ") {
		if rule != "" {
			h.run(h.Lab.Host(), append([]string{program, "-w"}, strings.Fields(rule)...)...)
		}
	}
}

// passes says whether a connection comes about, and waits long only if nothing is said
// against it.
func (h *host) passes(said, ns, addr string) bool {
	limit := patience
	if said == "" {
		limit = 10 * time.Second
	}
	conn, _, err := h.dialWithin(limit, ns, addr)
	if err == nil {
		_ = conn.Close()
	}
	return err == nil
}

// A look at a host that nobody has used iptables-legacy on makes no table of it.
func TestLookMakesNoTable(t *testing.T) {
	h := newHost(t)
	h.named()
	if tables := h.run(h.Lab.Host(), "cat", "/proc/thread-self/net/ip_tables_names"); tables != "" {
		t.Errorf("made %q", tables)
	}
}

func TestLegacyWallIsAWarning(t *testing.T) {
	h := newHost(t)
	h.build("iptables-legacy", "-P FORWARD DROP")
	h.watched()
	h.soon("warning", func() bool {
		return slices.ContainsFunc(h.Warnings(), func(w string) bool { return strings.Contains(w, "iptables-legacy table filter") })
	})
}

func TestRoutesIntoTheBlockAreNamed(t *testing.T) {
	h := newHost(t) // slots 0 to 99: 172.16.0.0 to 172.16.1.143
	h.setup(0)
	s := h.survey()
	for _, route := range []string{
		"172.16.2.0/24 dev " + lab.HostLink, // behind the last slot
		"10.0.0.0/8 dev " + lab.HostLink,
		"unreachable 172.16.0.0/12",
	} {
		h.run(h.Lab.Host(), append([]string{"ip", "route", "add"}, strings.Fields(route)...)...)
	}
	if all, err := s.Routes(); len(all) > 0 || err != nil {
		t.Errorf("without a collision: %q, %v", all, err)
	}
	h.run(h.Lab.Host(), "ip", "route", "add", "172.16.1.0/24", "via", lab.OutsideAddress)
	h.run(h.Lab.Host(), "ip", "route", "add", "172.16.0.0/16", "dev", lab.HostLink, "table", "77")
	all, err := s.Routes()
	slices.Sort(all)
	want := []string{"route to 172.16.0.0/16 by link " + lab.HostLink, "route to 172.16.1.0/24 by link " + lab.HostLink}
	if !slices.Equal(all, want) || err != nil {
		t.Errorf("got %q, %v; want %q", all, err, want)
	}
	if err := s.Foreign(); err != nil {
		t.Error(err)
	}
	h.run(h.Lab.Host(), "ip", "addr", "add", "172.16.1.9/24", "dev", lab.HostLink)
	if err := s.Foreign(); err == nil || !strings.Contains(err.Error(), lab.HostLink) {
		t.Errorf("an address: %v", err)
	}
}

func TestTryLeavesNothing(t *testing.T) {
	h := newHost(t, sizes, policies)
	before := h.snapshot()
	if err := h.survey().Try(t.Context()); err != nil {
		t.Error(err)
	}
	h.nothingBeyond(before)
}
