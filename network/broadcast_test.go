package network_test

import (
	"net"
	"testing"
	"time"

	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv4"

	"github.com/dynod/dynod/network"
)

// TestHostDoesNotHearBroadcasts takes one wall away, then the other, then both. Of what
// is for everybody, the kernel itself lets only that for the host's network arrive.
func TestHostDoesNotHearBroadcasts(t *testing.T) {
	const network = "10.99.0.255"
	h := newHost(t)
	_, a := h.setup(0)
	heard := h.datagrams(h.Lab.Host(), "0.0.0.0")
	arrives := func(when string, want int) {
		t.Helper()
		h.shout(a.Namespace, network)
		if n := heard(); n != want {
			t.Errorf("%s: the host heard %d", when, n)
		}
	}
	h.openNeighbours(a.Namespace) // as in a space
	arrives("both walls", 0)
	if n := h.shout(a.Namespace, network, "172.16.0.3", "172.16.0.7", "255.255.255.255", "224.0.0.1"); n > 0 {
		t.Errorf("%d datagrams left the dyno", n)
	}
	inside := h.run(a.Namespace, "nft", "list", "ruleset")
	h.run(a.Namespace, "nft", "flush", "ruleset")
	arrives("the host's wall", 0)
	h.run(h.Lab.Host(), "nft", "flush", "ruleset")
	arrives("no wall", 1)
	h.load(a.Namespace, inside)
	arrives("the dyno's wall", 0)
}

// shout sends a datagram to port 9 of each, and says how many the namespace let out.
func (h *host) shout(ns string, to ...string) (left int) {
	h.t.Helper()
	for _, addr := range to {
		err := h.Do(ns, func() error {
			conn, err := net.Dial("udp", addr+":9")
			if err != nil {
				return err
			}
			defer conn.Close()
			if _, err := conn.Write([]byte("anybody there?")); err == nil {
				left++
			}
			return nil
		})
		if err != nil {
			h.t.Fatal(err)
		}
	}
	return left
}

// TestHostHearsThatItsAnswerWasRefused asks a service of the host, and is gone when the
// answer comes: the kernel says so to the host.
func TestHostHearsThatItsAnswerWasRefused(t *testing.T) {
	h := newHost(t, func(c *network.Config) { c.HostPorts = []uint16{53} })
	_, a := h.setup(0)
	var service net.PacketConn
	err := h.Do(h.Lab.Host(), func() (err error) {
		service, err = net.ListenPacket("udp", ":53")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	defer service.Close()
	err = h.Do(a.Namespace, func() error {
		conn, err := net.Dial("udp", a.Gateway.String()+":53")
		if err != nil {
			return err
		}
		_, err = conn.Write([]byte("who?"))
		_ = conn.Close()
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	_ = service.SetReadDeadline(time.Now().Add(promptly))
	_, from, err := service.ReadFrom(make([]byte, 100))
	if err == nil {
		_, err = service.WriteTo([]byte("you"), from)
	}
	if err != nil {
		t.Fatal(err)
	}
	h.soon("the refusal", func() bool { return h.unreachables(h.Lab.Host()) == 1 })
	h.tell(a.Namespace, a.Gateway.String(), icmp.Message{Type: ipv4.ICMPTypeEcho, Body: &icmp.Echo{}})
	time.Sleep(patience)
	if h.messages(h.Lab.Host(), "InEchos") != 0 {
		t.Error("a message that belongs to no connection came in too")
	}
}
