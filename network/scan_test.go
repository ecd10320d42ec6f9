package network_test

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dynod/dynod/test/lab"
)

const (
	metadata6 = "fd00:ec2::254"
	allPorts  = 65535
	scanFrom  = 40000 // the scanner's own port
	tcpHeader = 20
	nearlyAll = allPorts * 99 / 100 // the scanner may miss an answer
)

// TestScanReachesNothing asks for every TCP port of what is closed to a dyno. The
// first arm takes every wall away, to see that there is something to reach.
func TestScanReachesNothing(t *testing.T) {
	t.Run("open", func(t *testing.T) {
		s := newScan(t)
		s.openAll()
		for what, target := range s.targets {
			if n := s.reached(target); n < nearlyAll {
				t.Errorf("%s: only %d ports answer", what, n)
			}
		}
	})
	t.Run("closed", func(t *testing.T) {
		s := newScan(t)
		if err := s.Network.Close(); err != nil {
			t.Fatal(err)
		}
		s.Network = nil
		s.nothingAnswers("no agent")
		s.run(s.Lab.Host(), "nft", "flush", "ruleset")
		s.nothingAnswers("neither agent nor rules")
		s.restart()
		s.watched()
		s.nothingAnswers("agent")
		s.run(s.Lab.Host(), "nft", "flush", "ruleset")
		s.soon("rules", func() bool {
			return s.Command(s.Lab.Host(), "nft", "list", "chain", "inet", "dynod", "protect_host").Run() == nil
		})
		s.nothingAnswers("after a flush")
	})
}

type scan struct {
	*host
	from    string // namespace of the dyno that asks
	other   string // namespace of another one
	targets map[string]netip.Addr
}

func newScan(t *testing.T) *scan {
	h := newHost(t)
	_, a := h.setup(0)
	_, b := h.setup(1)
	for _, line := range []string{
		"ip addr add " + metadata + "/32 dev " + lab.OutsideLink,
		"ip addr add fd01::2/64 dev " + lab.OutsideLink + " nodad",
		"ip addr add " + metadata6 + "/128 dev " + lab.OutsideLink + " nodad",
		"ip route add 172.16.0.0/12 via " + lab.HostAddress,
		"ip route add fd00::/64 via fd01::1",
	} {
		h.run(h.Outside(), strings.Fields(line)...)
	}
	for _, line := range []string{
		"ip addr add fd01::1/64 dev " + lab.HostLink + " nodad",
		"ip route add " + metadata + " via " + lab.OutsideAddress,
		"ip route add " + metadata6 + " via fd01::2",
		"sysctl -qw net.ipv6.conf.all.forwarding=1",
	} {
		h.run(h.Lab.Host(), strings.Fields(line)...)
	}
	return &scan{h, a.Namespace, b.Namespace, map[string]netip.Addr{
		"host": a.Gateway, "host outside": netip.MustParseAddr(lab.HostAddress), "dyno": b.Addr,
		"metadata": netip.MustParseAddr(metadata), "metadata by IPv6": netip.MustParseAddr(metadata6),
	}}
}

// openAll takes away the firewall and the routes, and gives the dyno IPv6.
func (s *scan) openAll() {
	s.run(s.Lab.Host(), "nft", "flush", "ruleset")
	s.run(s.from, "nft", "flush", "ruleset")
	s.openNeighbours(s.from)
	s.openNeighbours(s.other)
	for _, to := range []string{"169.254.0.0/16", metadata6, "fe80::/10", "default"} {
		family := map[bool]string{true: "-4", false: "-6"}[strings.Contains(to, ".")]
		s.run(s.from, "ip", family, "route", "del", "prohibit", to)
	}
	for ns, link := range map[string]string{s.Lab.Host(): "dy0", s.from: "eth0"} {
		addr := map[string]string{"dy0": "fd00::1/64", "eth0": "fd00::2/64"}[link]
		s.run(ns, "sh", "-c", "echo 0 >/proc/sys/net/ipv6/conf/"+link+"/disable_ipv6")
		s.run(ns, "ip", "link", "set", link, "arp", "on") // or neighbours are not asked for
		s.run(ns, "ip", "addr", "add", addr, "dev", link, "nodad")
	}
	s.run(s.from, "ip", "-6", "route", "add", "default", "via", "fd00::1")
}

func (s *scan) nothingAnswers(when string) {
	s.t.Helper()
	for what, target := range s.targets {
		if n := s.scan(s.from, target); n > 0 {
			s.t.Errorf("%s: %d ports of %s answer", when, n, what)
		}
	}
}

// reached is how many ports answer, asked again while some do not: new addresses may need a moment, and a busy machine more.
func (s *scan) reached(to netip.Addr) (answered int) {
	s.t.Helper()
	for range 5 {
		if answered = s.scan(s.from, to); answered >= nearlyAll {
			break
		}
	}
	return answered
}

// scan sends a SYN to every port of to and counts those that answer, with SYN and
// ACK or with RST.
func (s *scan) scan(ns string, to netip.Addr) (answered int) {
	s.t.Helper()
	var answers sync.WaitGroup
	err := s.Do(ns, func() error {
		fd, own, err := rawTCP(to)
		if err != nil {
			return err
		}
		done := make(chan struct{})
		answers.Go(func() { answered = count(fd, done) })
		err = sendSYNs(fd, own, to)
		close(done)
		return err
	})
	answers.Wait()
	if err != nil && !slices.ContainsFunc(noWay, func(no error) bool { return errors.Is(err, no) }) {
		s.t.Fatal(err)
	}
	return answered
}

// noWay is what a namespace says of a destination that it has no route to.
var noWay = []error{unix.EACCES, unix.ENETUNREACH, unix.EADDRNOTAVAIL, unix.EHOSTUNREACH}

// rawTCP is a raw socket that speaks with one address only, and its own address.
func rawTCP(to netip.Addr) (fd int, own netip.Addr, err error) {
	family, peer := unix.AF_INET6, unix.Sockaddr(&unix.SockaddrInet6{Addr: to.As16()})
	if to.Is4() {
		family, peer = unix.AF_INET, &unix.SockaddrInet4{Addr: to.As4()}
	}
	fd, err = unix.Socket(family, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_TCP)
	if err != nil {
		return 0, own, err
	}
	err = errors.Join(
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 128<<20),
		unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Usec: 300_000}),
		unix.Connect(fd, peer),
	)
	if to.Is6() && err == nil {
		err = unix.SetsockoptInt(fd, unix.IPPROTO_RAW, unix.IPV6_CHECKSUM, 16)
	}
	if err != nil {
		return 0, own, errors.Join(err, unix.Close(fd))
	}
	name, err := unix.Getsockname(fd)
	if v4, ok := name.(*unix.SockaddrInet4); ok {
		own = netip.AddrFrom4(v4.Addr)
	}
	return fd, own, err
}

// count reads answers until some time after done, and closes the socket.
func count(fd int, done <-chan struct{}) int {
	defer unix.Close(fd)
	from := map[uint16]bool{}
	packet := make([]byte, 1500)
	for {
		n, err := unix.Read(fd, packet)
		if err != nil {
			select {
			case <-done:
				return len(from)
			default:
				continue
			}
		}
		tcp := packet[:n]
		if len(tcp) > tcpHeader && tcp[0]>>4 == 4 {
			tcp = tcp[int(tcp[0]&15)*4:] // IPv4 raw sockets show the header
		}
		const synAck, rst = 0x12, 0x04
		answers := len(tcp) >= tcpHeader && binary.BigEndian.Uint16(tcp[2:]) == scanFrom
		if answers && (tcp[13]&synAck == synAck || tcp[13]&rst != 0) {
			from[binary.BigEndian.Uint16(tcp)] = true
		}
	}
}

func sendSYNs(fd int, own, to netip.Addr) error {
	for port := 1; port <= allPorts; port++ {
		tcp := make([]byte, tcpHeader)
		binary.BigEndian.PutUint16(tcp, scanFrom)
		binary.BigEndian.PutUint16(tcp[2:], uint16(port))
		tcp[12], tcp[13] = tcpHeader/4<<4, 2 // SYN
		binary.BigEndian.PutUint16(tcp[14:], 1024)
		if to.Is4() {
			binary.BigEndian.PutUint16(tcp[16:], checksum(own, to, unix.IPPROTO_TCP, tcp))
		}
		for {
			_, err := unix.Write(fd, tcp)
			if errors.Is(err, unix.ENOBUFS) {
				time.Sleep(time.Millisecond)
				continue
			}
			if err != nil && !errors.Is(err, unix.EPERM) { // the firewall inside refuses it
				return err
			}
			break
		}
	}
	return nil
}

// checksum of what a packet of even length carries.
func checksum(from, to netip.Addr, protocol byte, carried []byte) uint16 {
	head := slices.Concat(from.AsSlice(), to.AsSlice(), []byte{0, protocol, 0, byte(len(carried))})
	var sum uint32
	for _, part := range [][]byte{head, carried} {
		for i := 0; i < len(part); i += 2 {
			sum += uint32(binary.BigEndian.Uint16(part[i:]))
		}
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}
