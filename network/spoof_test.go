package network_test

import (
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dynod/dynod/network"
	"github.com/dynod/dynod/test/lab"
)

// TestForgedSourcesAreDropped sends what only a dyno with capabilities could.
func TestForgedSourcesAreDropped(t *testing.T) {
	h := newHost(t)
	_, a := h.setup(0)
	_, b := h.setup(1)
	seen := h.datagrams(h.Outside(), lab.OutsideAddress)
	sources := []string{b.Addr.String(), a.Gateway.String(), lab.HostAddress, "8.8.8.8", "172.16.3.1"}
	send := func() {
		for _, from := range sources {
			h.forge(a.Namespace, from, lab.OutsideAddress)
		}
		h.forge(a.Namespace, a.Addr.String(), lab.OutsideAddress)
	}
	send()
	if n := seen(); n != 1 {
		t.Errorf("%d datagrams came out, want the dyno's own", n)
	}
	h.denied("denied_source")

	h.run(h.Lab.Host(), "nft", "flush", "ruleset")
	h.run(h.Lab.Host(), "sh", "-c", "echo 0 >/proc/sys/net/ipv4/conf/dy0/rp_filter; echo 0 >/proc/sys/net/ipv4/conf/all/rp_filter")
	send()
	if n := seen(); n < 4 { // the kernel itself drops what bears the host's own addresses
		t.Errorf("%d datagrams came out without walls, want 4 at least", n)
	}
}

// forge sends a UDP datagram to port 9 from any address.
func (h *host) forge(ns, from, to string) {
	h.t.Helper()
	src, dst := netip.MustParseAddr(from), netip.MustParseAddr(to)
	packet := make([]byte, 28)
	packet[0], packet[8], packet[9] = 0x45, 64, unix.IPPROTO_UDP
	copy(packet[12:], src.AsSlice())
	copy(packet[16:], dst.AsSlice())
	binary.BigEndian.PutUint16(packet[20:], 9)
	binary.BigEndian.PutUint16(packet[22:], 9)
	binary.BigEndian.PutUint16(packet[24:], 8) // no checksum
	h.raw(ns, packet)
}

// raw sends a packet of IPv4.
func (h *host) raw(ns string, packet []byte) {
	h.t.Helper()
	err := h.Do(ns, func() error {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
		if err != nil {
			return err
		}
		return errors.Join(unix.Sendto(fd, packet, 0, &unix.SockaddrInet4{Addr: [4]byte(packet[16:])}), unix.Close(fd))
	})
	if err != nil {
		h.t.Fatal(err)
	}
}

// datagrams listens on UDP port 9 of an address. Its result counts what came since
// the call before, when no more comes.
func (h *host) datagrams(ns, addr string) func() int {
	h.t.Helper()
	var conn net.PacketConn
	err := h.Do(ns, func() (err error) {
		conn, err = net.ListenPacket("udp", addr+":9")
		return err
	})
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { _ = conn.Close() })
	return func() (n int) {
		for {
			_ = conn.SetReadDeadline(time.Now().Add(patience))
			if _, _, err := conn.ReadFrom(make([]byte, 100)); err != nil {
				return n
			}
			n++
		}
	}
}

// TestHiddenAddressesStayInside ends a connection that there is not, which the kernel
// does not translate.
func TestHiddenAddressesStayInside(t *testing.T) {
	for name, routed := range map[string]bool{"hidden": false, "routed": true} {
		t.Run(name, func(t *testing.T) {
			h := newHost(t, func(c *network.Config) { c.Routed = routed })
			_, a := h.setup(0)
			seen := h.segments(h.Outside(), a.Addr)
			h.reset(a.Namespace, a.Addr, lab.OutsideAddress)
			if came := seen(); came != routed {
				t.Errorf("came out with the dyno's address: %v, want %v", came, routed)
			}
			if !routed {
				h.denied("denied_invalid")
			}
		})
	}
}

// reset sends TCP's RST from port 9 to port 9.
func (h *host) reset(ns string, src netip.Addr, to string) {
	h.t.Helper()
	dst := netip.MustParseAddr(to)
	segment := []byte{0, 9, 0, 9, 0, 0, 0, 1, 0, 0, 0, 0, 0x50, 0x04, 0, 0, 0, 0, 0, 0}
	binary.BigEndian.PutUint16(segment[16:], checksum(src, dst, unix.IPPROTO_TCP, segment))
	head := []byte{0x45, 0, 0, 0, 0, 0, 0, 0, 64, unix.IPPROTO_TCP, 0, 0}
	h.raw(ns, slices.Concat(head, src.AsSlice(), dst.AsSlice(), segment))
}

// segments hears TCP in ns. Its result says whether any came from an address.
func (h *host) segments(ns string, from netip.Addr) func() bool {
	h.t.Helper()
	var conn net.PacketConn
	err := h.Do(ns, func() (err error) {
		conn, err = net.ListenPacket("ip4:tcp", "0.0.0.0")
		return err
	})
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { _ = conn.Close() })
	return func() bool {
		_ = conn.SetReadDeadline(time.Now().Add(patience))
		for {
			_, sender, err := conn.ReadFrom(make([]byte, 100))
			if err != nil {
				return false
			}
			if sender.String() == from.String() {
				return true
			}
		}
	}
}

// TestForgedARPIsNotHeard says by ARP that the dyno's address, and then another
// dyno's, is at a made-up one.
func TestForgedARPIsNotHeard(t *testing.T) {
	const forged = "02:00:00:00:00:66"
	h := newHost(t)
	_, a := h.setup(0)
	_, b := h.setup(1)
	h.serve(a.Namespace, ":3000")
	lie := func(sender string) string {
		h.arp(a.Namespace, forged, sender, a.Gateway.String())
		time.Sleep(patience)
		return h.run(h.Lab.Host(), "ip", "neigh")
	}
	for _, sender := range []string{a.Addr.String(), b.Addr.String(), a.Gateway.String()} {
		if known := lie(sender); strings.Contains(known, forged) {
			t.Errorf("the host believes it of %s:\n%s", sender, known)
		}
	}
	h.reaches(h.Outside(), onHost(a.HostPort))

	h.run(h.Lab.Host(), "ip", "link", "set", "dy0", "arp", "on") // which forgets the neighbours
	if known := lie(a.Addr.String()); !strings.Contains(known, forged) {
		t.Errorf("with ARP on, the host does not believe it either:\n%s", known)
	}
}

// TestForgedNeighbourIsNotHeard asks by IPv6's ND as if another address were at a made-up
// hardware address, first as things are, then with the link's walls away but for the
// firewall, and then without it.
func TestForgedNeighbourIsNotHeard(t *testing.T) {
	const forged, sender, target = "02:00:00:00:00:66", "fd00::66", "fd00::1"
	h := newHost(t)
	_, a := h.setup(0)
	lie := func() bool {
		h.solicit(a.Namespace, forged, sender, target)
		time.Sleep(patience)
		return strings.Contains(h.run(h.Lab.Host(), "ip", "-6", "neigh"), forged)
	}
	if lie() {
		t.Error("the host believes it")
	}
	for _, line := range []string{"echo 0 >/proc/sys/net/ipv6/conf/dy0/disable_ipv6", "ip link set dy0 arp on", "ip addr add " + target + "/64 dev dy0 nodad"} {
		h.run(h.Lab.Host(), "sh", "-c", line)
	}
	if lie() {
		t.Error("the host believes it with IPv6 and ARP on")
	}
	h.denied("denied_source")
	h.run(h.Lab.Host(), "nft", "flush", "ruleset")
	if !lie() {
		t.Error("without any wall, the host does not believe it either")
	}
}

// solicit asks for the neighbour target as if at hardware address mac and IPv6 address sender.
func (h *host) solicit(ns, mac, sender, target string) {
	h.t.Helper()
	hw, err := net.ParseMAC(mac)
	if err != nil {
		h.t.Fatal(err)
	}
	src, dst := netip.MustParseAddr(sender), netip.MustParseAddr(target)
	ask := slices.Concat([]byte{135, 0, 0, 0, 0, 0, 0, 0}, dst.AsSlice(), []byte{1, 1}, hw)
	binary.BigEndian.PutUint16(ask[2:], checksum(src, dst, unix.IPPROTO_ICMPV6, ask))
	head := []byte{0x60, 0, 0, 0, 0, byte(len(ask)), unix.IPPROTO_ICMPV6, 255}
	h.frame(ns, unix.ETH_P_IPV6, slices.Concat(head, src.AsSlice(), dst.AsSlice(), ask))
}

// arp asks for target as if at hardware address mac and IP address sender.
func (h *host) arp(ns, mac, sender, target string) {
	h.t.Helper()
	hw, err := net.ParseMAC(mac)
	if err != nil {
		h.t.Fatal(err)
	}
	ask := []byte{0, 1, 8, 0, 6, 4, 0, 1} // Ethernet, IPv4, their lengths, a request
	ask = append(append(ask, hw...), netip.MustParseAddr(sender).AsSlice()...)
	ask = append(append(ask, make([]byte, 6)...), netip.MustParseAddr(target).AsSlice()...)
	h.frame(ns, unix.ETH_P_ARP, ask)
}

// frame sends a packet to everybody on the dyno's link.
func (h *host) frame(ns string, kind uint16, packet []byte) {
	h.t.Helper()
	err := h.Do(ns, func() error {
		link, err := net.InterfaceByName("eth0")
		if err != nil {
			return err
		}
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		all := &unix.SockaddrLinklayer{Protocol: kind<<8 | kind>>8, Ifindex: link.Index, Halen: 6, Addr: [8]byte{255, 255, 255, 255, 255, 255}}
		return errors.Join(unix.Sendto(fd, packet, 0, all), unix.Close(fd))
	})
	if err != nil {
		h.t.Fatal(err)
	}
}

// TestDynoCannotTurnIPv6On tries as a user, and as root of a user namespace.
func TestDynoCannotTurnIPv6On(t *testing.T) {
	h := newHost(t)
	_, a := h.setup(0)
	const switchOn = "echo 0 >/proc/sys/net/ipv6/conf/all/disable_ipv6"
	const user = "setpriv --reuid 1000 --regid 1000 --clear-groups"
	for _, who := range []string{user, user + " unshare --user --map-root-user"} {
		argv := append(strings.Fields(who), "sh", "-c", switchOn)
		if out, err := h.Command(a.Namespace, argv...).CombinedOutput(); err == nil || !strings.Contains(string(out), "denied") {
			t.Errorf("%s: %v %s", who, err, out)
		}
	}
	if got := h.run(a.Namespace, "cat", "/proc/sys/net/ipv6/conf/eth0/disable_ipv6"); got != "1\n" {
		t.Errorf("IPv6 is on inside: %s", got)
	}
	h.run(a.Namespace, "sh", "-c", switchOn) // so it is a right that they lack
}
