package network_test

import (
	"errors"
	"io/fs"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/dynod/dynod/network"
	"github.com/dynod/dynod/test/lab"
)

const metadata = "169.254.169.254"

func TestDynoReachesOutsideByTheHostsAddress(t *testing.T) {
	h := newHost(t)
	_, a := h.setup(3)
	h.serve(h.Outside(), outside(80))
	if seen := h.reaches(a.Namespace, outside(80)); seen != lab.HostAddress {
		t.Errorf("outside saw %s, want %s", seen, lab.HostAddress)
	}
}

func TestHostPortLeadsToDyno(t *testing.T) {
	h := newHost(t)
	_, a := h.setup(3)
	if a.HostPort != 5003 || a.Addr.String() != "172.16.0.14" || a.Gateway.String() != "172.16.0.13" {
		t.Fatalf("unexpected attachment %+v", a)
	}
	h.serve(a.Namespace, ":3000")
	if seen := h.reaches(h.Outside(), onHost(a.HostPort)); seen != lab.OutsideAddress {
		t.Errorf("dyno saw %s, want the client's own address", seen)
	}
	h.reaches(h.Lab.Host(), onHost(a.HostPort))
	h.reaches(h.Lab.Host(), join(a.Addr, 3000))
}

func TestOnlyThePortLeadsToDyno(t *testing.T) {
	h := newHost(t)
	_, a := h.setup(0)
	h.serve(a.Namespace, ":3000")
	h.serve(a.Namespace, ":3001")
	h.run(h.Outside(), "ip", "route", "add", "172.16.0.0/12", "via", lab.HostAddress)
	h.cannotReach(h.Outside(), join(a.Addr, 3000))
	h.cannotReach(h.Outside(), join(a.Addr, 3001))
	h.denied("denied_inward")
	h.reaches(h.Outside(), onHost(a.HostPort))
}

// TestHostIsClosedTwice takes one wall away, then the other, then both.
func TestHostIsClosedTwice(t *testing.T) {
	h := newHost(t)
	_, a := h.setup(0)
	_, b := h.setup(1)
	h.serve(h.Lab.Host(), ":80")
	h.serve(b.Namespace, ":3000")
	addrs := []string{lab.HostAddress, a.Gateway.String(), b.Gateway.String()}
	h.openNeighbours(a.Namespace) // as in a space
	for _, addr := range addrs {
		h.reaches(h.Lab.Host(), addr+":80")
		h.cannotReach(a.Namespace, addr+":80")
	}
	inside := h.run(a.Namespace, "nft", "list", "ruleset")
	h.run(a.Namespace, "nft", "flush", "ruleset")
	for _, addr := range addrs {
		h.cannotReach(a.Namespace, addr+":80")
	}
	h.reaches(h.Outside(), onHost(b.HostPort))
	h.cannotReach(a.Namespace, onHost(b.HostPort))
	h.denied("denied_host")

	h.run(h.Lab.Host(), "nft", "flush", "ruleset")
	for _, addr := range addrs {
		h.reaches(a.Namespace, addr+":80")
	}
	h.load(a.Namespace, inside)
	for _, addr := range addrs {
		h.cannotReach(a.Namespace, addr+":80")
	}
	h.serve(a.Namespace, ":3000")
	h.reaches(h.Lab.Host(), join(a.Addr, 3000)) // answers go to the host
}

// load loads rules.
func (h *host) load(ns, rules string) {
	h.t.Helper()
	load := h.Command(ns, "nft", "-f", "-")
	load.Stdin = strings.NewReader(rules)
	if out, err := load.CombinedOutput(); err != nil {
		h.t.Fatalf("%v: %s", err, out)
	}
}

func TestDynoCannotReachDyno(t *testing.T) {
	h := newHost(t)
	_, a := h.setup(0)
	_, b := h.setup(1)
	h.serve(b.Namespace, ":3000")
	if _, _, err := h.dial(a.Namespace, join(b.Addr, 3000)); !errors.Is(err, unix.EACCES) {
		t.Errorf("both walls: got %v, want EACCES at once", err)
	}
	h.openNeighbours(a.Namespace)
	h.cannotReach(a.Namespace, join(b.Addr, 3000))
	h.denied("denied_dyno")
	h.openNeighbours(b.Namespace)
	h.run(h.Lab.Host(), "nft", "flush", "chain", "inet", "dynod", "outward")
	h.run(h.Lab.Host(), "nft", "flush", "chain", "inet", "dynod", "inward")
	h.reaches(a.Namespace, join(b.Addr, 3000)) // so it was the walls
}

// openNeighbours takes away the routes that keep a dyno from the others.
func (h *host) openNeighbours(ns string) {
	h.t.Helper()
	for _, to := range []string{"172.16.0.0/24", "172.16.1.0/25", "172.16.1.128/28"} { // 100 slots
		h.run(ns, "ip", "route", "del", "prohibit", to)
	}
}

// TestMetadataIsBlockedTwice takes one wall away, then the other, then both: the
// last arm shows that there was something to reach.
func TestMetadataIsBlockedTwice(t *testing.T) {
	h := newHost(t)
	_, a := h.setup(0)
	h.run(h.Outside(), "ip", "addr", "add", metadata+"/32", "dev", lab.OutsideLink)
	h.run(h.Outside(), "ip", "route", "add", "172.16.0.0/12", "via", lab.HostAddress)
	h.run(h.Lab.Host(), "ip", "route", "add", metadata+"/32", "via", lab.OutsideAddress)
	h.serve(h.Outside(), metadata+":80")
	h.reaches(h.Lab.Host(), metadata+":80")

	if _, _, err := h.dial(a.Namespace, metadata+":80"); !errors.Is(err, unix.EACCES) {
		t.Errorf("both walls: got %v, want EACCES at once", err)
	}
	h.run(a.Namespace, "ip", "route", "del", "prohibit", "169.254.0.0/16")
	h.cannotReach(a.Namespace, metadata+":80")
	h.denied("denied_linklocal")

	h.run(h.Lab.Host(), "nft", "flush", "ruleset")
	h.reaches(a.Namespace, metadata+":80")
	h.run(a.Namespace, "ip", "route", "add", "prohibit", "169.254.0.0/16")
	h.cannotReach(a.Namespace, metadata+":80")
}

// TestMetadataByIPv6IsBlockedTwice is the same with IPv6 turned on, which is a wall before these.
func TestMetadataByIPv6IsBlockedTwice(t *testing.T) {
	s := newScan(t)
	rules := s.run(s.Lab.Host(), "nft", "list", "ruleset")
	s.serve(s.Outside(), "["+metadata6+"]:80")
	s.openAll()
	s.reaches(s.from, "["+metadata6+"]:80")

	s.run(s.from, "ip", "-6", "route", "add", "prohibit", metadata6)
	if _, _, err := s.dial(s.from, "["+metadata6+"]:80"); !errors.Is(err, unix.EACCES) {
		t.Errorf("by the route: got %v, want EACCES at once", err)
	}
	s.run(s.from, "ip", "-6", "route", "del", "prohibit", metadata6)
	s.load(s.Lab.Host(), rules)
	s.cannotReach(s.from, "["+metadata6+"]:80")
	s.denied("denied_source")
}

func TestForeignSourceIsDropped(t *testing.T) {
	h := newHost(t)
	_, a := h.setup(0)
	_, b := h.setup(1)
	h.serve(h.Outside(), outside(80))
	h.run(a.Namespace, "ip", "addr", "add", b.Addr.String()+"/32", "dev", "eth0")
	h.reaches(a.Namespace, outside(80)) // and the gateway's link address is known
	h.cannotReach(a.Namespace, outside(80), b.Addr.String())
	h.denied("denied_source")
}

func TestClosedPortsAreClosedOutwards(t *testing.T) {
	h := newHost(t)
	_, a := h.setup(0)
	h.serve(h.Outside(), outside(25))
	h.serve(h.Outside(), outside(26))
	h.reaches(a.Namespace, outside(26))
	h.reaches(h.Lab.Host(), outside(25))
	h.cannotReach(a.Namespace, outside(25))
	h.denied("denied_port")
}

func TestDynoHasNoIPv6(t *testing.T) {
	h := newHost(t)
	_, a := h.setup(0)
	addrs := h.run(a.Namespace, "cat", "/proc/thread-self/net/if_inet6")
	if addrs != "" {
		t.Errorf("IPv6 addresses inside:\n%s", addrs)
	}
	if out := h.run(h.Lab.Host(), "ip", "-6", "addr", "show", "dev", "dy0"); out != "" {
		t.Errorf("IPv6 on the host's end:\n%s", out)
	}
}

// TestIPv6IsDroppedEvenIfOn gives both ends what Setup denies them.
func TestIPv6IsDroppedEvenIfOn(t *testing.T) {
	h := newHost(t)
	_, a := h.setup(0)
	for ns, addr := range map[string]string{h.Lab.Host(): "fd00::1/64", a.Namespace: "fd00::2/64"} {
		link := map[string]string{h.Lab.Host(): "dy0", a.Namespace: "eth0"}[ns]
		h.run(ns, "sh", "-c", "echo 0 > /proc/sys/net/ipv6/conf/"+link+"/disable_ipv6")
		h.run(ns, "ip", "link", "set", link, "arp", "on") // or neighbours are not asked for
		h.run(ns, "ip", "addr", "add", addr, "dev", link, "nodad")
	}
	h.serve(h.Lab.Host(), "[fd00::1]:80")
	h.cannotReach(a.Namespace, "[fd00::1]:80")
	h.denied("denied_source")
	h.run(h.Lab.Host(), "nft", "flush", "ruleset")
	h.run(a.Namespace, "ip", "-6", "neigh", "flush", "dev", "eth0") // or the kernel tries again in a second only
	h.reaches(a.Namespace, "[fd00::1]:80")
}

func TestSysfsIsTheDynosAndReadOnly(t *testing.T) {
	h := newHost(t)
	_, a := h.setup(0)
	links, err := os.ReadDir(a.Sysfs + "/class/net")
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, l := range links {
		names = append(names, l.Name())
	}
	if got := strings.Join(names, " "); got != "eth0 lo" {
		t.Errorf("links in sysfs: %s", got)
	}
	err = os.WriteFile(a.Sysfs+"/class/net/eth0/mtu", []byte("1400"), 0)
	if !errors.Is(err, unix.EROFS) {
		t.Errorf("write to sysfs: %v, want a read-only file system", err)
	}
}

// TestDroppedSysfsStaysAway: a Setup by another agent does not bring it back, and one that was killed in the middle leaves what
// Setup completes.
func TestDroppedSysfsStaysAway(t *testing.T) {
	h := newHost(t)
	before := h.snapshot()
	h.prepare(7)
	r, a := h.request(7, func(*network.Request) {})
	for range 2 {
		if err := h.DropSysfs(t.Context(), r.ID); err != nil {
			t.Fatal(err)
		}
		h.restart()
		h.again(r)
		if _, err := os.Lstat(a.Sysfs); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("sysfs: %v", err)
		}
	}
	if err := os.Mkdir(a.Sysfs, 0o755); err != nil {
		t.Fatal(err)
	}
	h.again(r)
	if _, err := os.Stat(a.Sysfs + "/class/net/eth0"); err != nil {
		t.Error(err)
	}
	if err := h.DropSysfs(t.Context(), r.ID); err != nil {
		t.Fatal(err)
	}
	h.teardown(r.ID)
	h.nothingBeyond(before)
}
