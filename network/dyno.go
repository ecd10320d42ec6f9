package network

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"sync"

	"github.com/google/nftables"
	"golang.org/x/sys/unix"
)

// dyno is one dyno as the firewall sees it.
type dyno struct {
	Link     string // the host's end
	Addr     netip.Addr
	Port     uint16 // inside
	HostPort uint16
	Policy   string // its set and chain, empty for the default one
	Size     string // its set and chain, empty without limits
	Space    uint32 // 0: none
	Routed   bool
}

func (n *Network) dyno(slot int, o owner) dyno {
	d := dyno{
		Link: linkName(slot), Addr: n.cfg.addr(slot), Port: o.port, HostPort: n.cfg.hostPort(slot),
		Size: n.cfg.sizeChain(o.size), Space: n.spaces.number(o.space), Routed: n.cfg.Routed,
	}
	if chain := n.cfg.policyChain(o.policy); chain != n.cfg.policyChain(DefaultPolicy) {
		d.Policy = chain
	}
	return d
}

// spaces numbers private spaces for as long as this Network lives. A new one
// loads the table anew, with its own numbers.
type spaces struct {
	mu      sync.Mutex
	numbers map[string]uint32 // by digest
}

func (s *spaces) number(digest string) uint32 {
	if digest == "" {
		return 0
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.numbers == nil {
		s.numbers = map[string]uint32{}
	}
	if s.numbers[digest] == 0 {
		s.numbers[digest] = uint32(len(s.numbers) + 1)
	}
	return s.numbers[digest]
}

// element is one of a dyno's in the sets and maps of table.nft: as the kernel
// takes it, and as the file writes it.
type element struct {
	set  string
	key  []byte
	val  []byte // of a map
	text string
}

// elements is all that the firewall holds of a dyno.
func (d dyno) elements() []element {
	link, mark := ifname(d.Link), binary.NativeEndian.AppendUint32(nil, d.Space)
	// Each part of a joined value takes a multiple of four bytes.
	door := append(binary.BigEndian.AppendUint16(d.Addr.AsSlice(), d.Port), 0, 0)
	all := []element{
		{set: "sources", key: slices.Concat(link, d.Addr.AsSlice()), text: fmt.Sprintf("%s . %s", d.Link, d.Addr)},
		{
			set: "ports", key: binary.BigEndian.AppendUint16(nil, d.HostPort), val: door,
			text: fmt.Sprintf("%d : %s . %d", d.HostPort, d.Addr, d.Port),
		},
	}
	if d.Routed {
		all = append(all, element{set: "doors", key: door, text: fmt.Sprintf("%s . %d", d.Addr, d.Port)})
	}
	for _, set := range []string{d.Policy, d.Size} {
		if set != "" {
			all = append(all, element{set: set, key: link, text: d.Link})
		}
	}
	if d.Space != 0 {
		all = append(all,
			element{set: "spaces", key: link, val: mark, text: fmt.Sprintf("%s : %d", d.Link, d.Space)},
			element{set: "members", key: slices.Concat(link, mark), text: fmt.Sprintf("%s . %d", d.Link, d.Space)})
	}
	return all
}

// ifname is the name of a link as sets hold it.
func ifname(link string) []byte {
	key := make([]byte, unix.IFNAMSIZ)
	copy(key, link)
	return key
}

// without are the elements of all that others do not have.
func without(all, others []element) []element {
	return slices.DeleteFunc(slices.Clone(all), func(e element) bool {
		return slices.ContainsFunc(others, func(o element) bool { return o.set == e.set && o.text == e.text })
	})
}

var inetTable = &nftables.Table{Name: "dynod", Family: nftables.TableFamilyINet}

func (e element) of() (*nftables.Set, []nftables.SetElement) {
	set := &nftables.Set{Table: inetTable, Name: e.set, IsMap: e.val != nil}
	return set, []nftables.SetElement{{Key: e.key, Val: e.val}}
}

func (e element) add(c *nftables.Conn) error {
	set, elements := e.of()
	return c.SetAddElements(set, elements)
}

func (e element) delete(c *nftables.Conn) error {
	set, elements := e.of()
	return c.SetDeleteElements(set, elements)
}
