package network

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"path/filepath"
	"strconv"

	"github.com/containerd/errdefs"
)

// Config says which addresses and ports dynos get and where namespaces lie.
type Config struct {
	// Block holds the addresses of dynos, four for each slot. Default 172.16.0.0/12.
	Block netip.Prefix
	// FirstHostPort is the host port of slot 0; slot n has FirstHostPort+n.
	FirstHostPort uint16
	// Slots is how many dynos there are at most. Only the first Slots*4
	// addresses of Block are ever used or spoken for.
	Slots int
	// Dir is an absolute path, on tmpfs. Dir/<id>/ns is the namespace of a dyno,
	// Dir/<id>/sys the read-only sysfs that belongs to it, gone once a container has it, and the symbolic link
	// Dir/<id>/claim says its slot and port.
	Dir string
	// ClosedPorts are TCP ports that dynos cannot reach outside. Default 25 if
	// nil; none if empty.
	ClosedPorts []uint16
	// HostPorts are TCP and UDP ports that dynos can reach on the host itself.
	HostPorts []uint16
	// Listen are the host's links whose packets host ports are open to. All if
	// empty. The host itself can always use them.
	Listen []string
	// Routed says that the outside knows the way to Block: a dyno's $PORT is open
	// at its own address too, and dynos show that address outside.
	Routed bool
	// Policies and Sizes are what requests name.
	Policies map[string]Policy
	Sizes    map[string]Limits
	// Spare is what networks are made ahead for; its ID and Slot mean nothing. A
	// request that differs from it takes one all the same, and longer.
	Spare Request
}

// perSlot is the number of addresses in the /30 of one slot: the network's own,
// the host's, the dyno's, the broadcast address.
const perSlot = 4

// complete fills in defaults and checks that all slots fit.
func (c Config) complete() (Config, error) {
	if !c.Block.IsValid() {
		c.Block = netip.PrefixFrom(netip.AddrFrom4([4]byte{172, 16, 0, 0}), 12)
	}
	if c.ClosedPorts == nil {
		c.ClosedPorts = []uint16{25}
	}
	policies := map[string]Policy{DefaultPolicy: {}}
	maps.Copy(policies, c.Policies)
	c.Policies = policies
	c.Spare.Port = cmp.Or(c.Spare.Port, 5000)
	c.Block = c.Block.Masked()
	if err := c.check(); err != nil {
		return c, fmt.Errorf("network configuration: %w: %w", err, errdefs.ErrInvalidArgument)
	}
	return c, nil
}

func (c Config) check() error {
	switch {
	case !c.Block.Addr().Is4() || c.Block.Bits() > 30:
		return fmt.Errorf("address block %s is not an IPv4 block of at least a /30", c.Block)
	case c.Slots < 1 || c.Slots > 1<<16:
		return fmt.Errorf("%d slots, want 1 to 65536", c.Slots)
	case c.Slots*perSlot > 1<<(32-c.Block.Bits()):
		return fmt.Errorf("address block %s is too small for %d slots", c.Block, c.Slots)
	case c.FirstHostPort == 0 || int(c.FirstHostPort)+c.Slots-1 > 65535:
		return fmt.Errorf("%d host ports from %d on leave the range 1 to 65535", c.Slots, c.FirstHostPort)
	case !filepath.IsAbs(c.Dir):
		return fmt.Errorf("namespace directory %q is not an absolute path", c.Dir)
	}
	return c.checkNames()
}

// at is the i-th address of the block.
func (c Config) at(i int) netip.Addr { return fromUint(toUint(c.Block.Addr()) + uint32(i)) }

func toUint(a netip.Addr) uint32 {
	b := a.As4()
	return binary.BigEndian.Uint32(b[:])
}

func fromUint(n uint32) netip.Addr {
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], n)
	return netip.AddrFrom4(b)
}

func (c Config) gateway(slot int) netip.Addr { return c.at(slot*perSlot + 1) }
func (c Config) addr(slot int) netip.Addr    { return c.at(slot*perSlot + 2) }
func (c Config) network(slot int) netip.Addr { return c.at(slot * perSlot) }
func (c Config) first() netip.Addr           { return c.at(0) }
func (c Config) last() netip.Addr            { return c.at(c.Slots*perSlot - 1) }
func (c Config) hostPort(slot int) uint16    { return c.FirstHostPort + uint16(slot) }

// dir is the directory of one dyno.
func (c Config) dir(id string) string { return filepath.Join(c.Dir, id) }

// linkName is the host's end of the veth pair of a slot.
func linkName(slot int) string { return "dy" + strconv.Itoa(slot) }

// subnet is an address of a slot with the length of its network.
func subnet(a netip.Addr) *net.IPNet {
	return &net.IPNet{IP: a.AsSlice(), Mask: net.CIDRMask(30, 32)}
}
