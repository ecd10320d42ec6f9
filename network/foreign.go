package network

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/containerd/errdefs"
	"github.com/vishvananda/netlink"
)

// checkForeign makes sure that the addresses of dynos are on the links of dynos
// only, each on the one that the configuration says.
func (n *Network) checkForeign() error {
	links, err := dump(n.host.LinkList)
	if err != nil {
		return fmt.Errorf("list links: %w", err)
	}
	byIndex := make(map[int]*netlink.LinkAttrs, len(links))
	for _, link := range links {
		byIndex[link.Attrs().Index] = link.Attrs()
	}
	addrs, err := n.listAddrs()
	if err != nil {
		return err
	}
	for _, a := range addrs {
		link, ok := byIndex[a.LinkIndex]
		if !ok {
			continue // made or gone between the two listings
		}
		if err := n.cfg.checkAddr(link, a); err != nil {
			return err
		}
	}
	return nil
}

// listAddrs lists the host's IPv4 addresses, and remembers what it listens to beside
// loopback and the links of dynos: addresses, and those of all in a network.
func (n *Network) listAddrs() ([]netlink.Addr, error) {
	addrs, err := dump(func() ([]netlink.Addr, error) { return n.host.AddrList(nil, netlink.FAMILY_V4) })
	if err != nil {
		return nil, fmt.Errorf("list addresses: %w", err)
	}
	var others []netip.Addr
	for _, a := range addrs {
		ip, _ := netip.AddrFromSlice(a.IP.To4())
		if !ip.IsLoopback() && (ip.Less(n.cfg.first()) || n.cfg.last().Less(ip)) {
			others = append(others, ip, broadcast(ip, a))
		}
	}
	slices.SortFunc(others, netip.Addr.Compare)
	others = slices.Compact(others)
	n.others.Store(&others)
	return addrs, nil
}

// broadcast is the last address of a's network, which the kernel takes for its own
// whether a says so or not. One or two addresses have none: it is ip then.
func broadcast(ip netip.Addr, a netlink.Addr) netip.Addr {
	ones, bits := a.Mask.Size()
	if bits-ones < 2 {
		return ip
	}
	return fromUint(toUint(ip) | (1<<(bits-ones) - 1))
}

// checkAddr is the rule for one address of the host.
func (c Config) checkAddr(link *netlink.LinkAttrs, a netlink.Addr) error {
	ip, _ := netip.AddrFromSlice(a.IP.To4())
	ones, _ := a.Mask.Size()
	prefix := netip.PrefixFrom(ip, ones)
	if link.Group != linkGroup {
		if c.overlaps(prefix) {
			return fmt.Errorf("addresses of dynos (%s to %s) overlap %s on link %s: %w",
				c.first(), c.last(), prefix, link.Name, errdefs.ErrFailedPrecondition)
		}
		return nil
	}
	slot, named := slotOfName(link.Name)
	if _, owned := parseAlias(link.Alias); !named || !owned {
		return nil // nobody's: on its way out
	}
	if ip != c.gateway(slot) {
		return fmt.Errorf("living dyno on link %s has gateway %s, the configuration says %s: %w",
			link.Name, ip, c.gateway(slot), errdefs.ErrFailedPrecondition)
	}
	return nil
}

// overlaps says whether a network and the addresses of dynos have any in common.
func (c Config) overlaps(p netip.Prefix) bool {
	start := p.Masked().Addr()
	return p.Contains(c.first()) || (!start.Less(c.first()) && !c.last().Less(start))
}
