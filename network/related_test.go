package network_test

import (
	"encoding/binary"
	"net"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv4"
	"golang.org/x/sys/unix"

	"github.com/dynod/dynod/network"
	"github.com/dynod/dynod/test/lab"
)

// TestRoutersReachARoutedDyno has a router say that an answer of a dyno was too long: without that word the dyno would
// send it for ever.
func TestRoutersReachARoutedDyno(t *testing.T) {
	h := newHost(t, func(c *network.Config) { c.Routed = true })
	h.run(h.Outside(), "ip", "route", "add", "172.16.0.0/12", "via", lab.HostAddress)
	id, a := h.setup(0)
	h.serve(a.Namespace, ":3000")
	conn := h.connected(h.Outside(), join(a.Addr, 3000))
	client, server := conn.LocalAddr().(*net.TCPAddr), conn.RemoteAddr().(*net.TCPAddr)
	stranger := *client
	stranger.Port++
	h.tooLong(server, &stranger)
	h.tooLong(server, client)
	h.soon("a router's word", func() bool { return h.unreachables(a.Namespace) > 0 })
	if n := h.unreachables(a.Namespace); n != 1 {
		t.Errorf("%d messages came in, want that of a connection alone", n)
	}
	h.teardown(id)
	h.run(h.Outside(), "ip", "route", "del", "172.16.0.0/12")
}

// tooLong says that a packet from one end of a connection to the other has to be cut.
func (h *host) tooLong(from, to *net.TCPAddr) {
	h.t.Helper()
	packet := make([]byte, 28)
	packet[0], packet[8], packet[9] = 0x45, 64, unix.IPPROTO_TCP
	copy(packet[12:], from.IP.To4())
	copy(packet[16:], to.IP.To4())
	binary.BigEndian.PutUint16(packet[20:], uint16(from.Port))
	binary.BigEndian.PutUint16(packet[22:], uint16(to.Port))
	h.tell(h.Outside(), from.IP.String(), icmp.Message{
		Type: ipv4.ICMPTypeDestinationUnreachable, Code: 4, Body: &icmp.DstUnreach{Data: packet},
	})
}

// tell sends a message of ICMP.
func (h *host) tell(ns, to string, message icmp.Message) {
	h.t.Helper()
	data, err := message.Marshal(nil)
	if err != nil {
		h.t.Fatal(err)
	}
	err = h.Do(ns, func() error {
		conn, err := net.Dial("ip4:icmp", to)
		if err != nil {
			return err
		}
		defer conn.Close()
		_, err = conn.Write(data)
		return err
	})
	if err != nil {
		h.t.Fatal(err)
	}
}

// unreachables counts the messages of that kind that came into a namespace.
func (h *host) unreachables(ns string) int { return h.messages(ns, "InDestUnreachs") }

// messages counts those of ICMP, by the kernel's name of their kind.
func (h *host) messages(ns, kind string) int {
	h.t.Helper()
	var names, values []string
	for line := range strings.Lines(h.run(ns, "cat", "/proc/net/snmp")) {
		if f := strings.Fields(line); len(f) > 0 && f[0] == "Icmp:" {
			names, values = values, f
		}
	}
	for i, name := range names {
		if name == kind {
			n, err := strconv.Atoi(values[i])
			if err != nil {
				h.t.Fatal(err)
			}
			return n
		}
	}
	h.t.Fatal("the kernel counts none")
	return 0
}
