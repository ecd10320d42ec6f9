package network

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/containerd/errdefs"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

const (
	// linkGroup marks the host's ends of all dynos' links ("dy" in ASCII). A
	// link has it from the moment it exists, and the firewall matches on it.
	linkGroup = 0x6479
	// insideName is the dyno's end of its link.
	insideName = "eth0"
)

// slotLink is the host's end of a slot's link. A link of that name that is not
// ours is an error.
func (n *Network) slotLink(slot int) (link netlink.Link, o owner, err error) {
	link, err = n.host.LinkByName(linkName(slot))
	var missing netlink.LinkNotFoundError
	if errors.As(err, &missing) {
		return nil, owner{}, nil
	}
	if err != nil {
		return nil, owner{}, fmt.Errorf("find link: %w", err)
	}
	if link.Attrs().Group != linkGroup {
		return nil, owner{}, fmt.Errorf("link %s is not ours: %w", linkName(slot), errdefs.ErrFailedPrecondition)
	}
	o, _ = parseAlias(link.Attrs().Alias)
	return link, o, nil
}

// makeLink makes the pair of a slot, its far end inside s from the start, nobody's
// yet.
func (n *Network) makeLink(slot int, s *namespace) (netlink.Link, error) {
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.Group = linkName(slot), linkGroup
	attrs.NumTxQueues, attrs.NumRxQueues = 1, 1 // the kernel makes one for each CPU, which no traffic here needs
	pair := &netlink.Veth{LinkAttrs: attrs, PeerName: insideName, PeerNamespace: netlink.NsFd(int(s.ns))}
	if err := n.host.LinkAdd(pair); err != nil {
		return nil, fmt.Errorf("make link: %w", err)
	}
	link, err := n.host.LinkByName(attrs.Name)
	if err != nil {
		return nil, fmt.Errorf("find link: %w", err)
	}
	return link, nil
}

// deleteLink deletes a link at once, which takes the kernel some 20 ms. One that
// went meanwhile with its namespace is no error.
func (n *Network) deleteLink(link netlink.Link) error {
	err := n.host.LinkDel(link)
	if err != nil && !errors.Is(err, unix.ENODEV) {
		return fmt.Errorf("delete link: %w", err)
	}
	return nil
}

// prepareHostEnd makes settings, address and neighbour of the host's end.
func (n *Network) prepareHostEnd(link, inside netlink.Link, slot int) error {
	if err := n.settings.hostEnd(link.Attrs().Name); err != nil {
		return err
	}
	if err := n.host.AddrReplace(link, &netlink.Addr{IPNet: subnet(n.cfg.gateway(slot))}); err != nil {
		return fmt.Errorf("set gateway address: %w", err)
	}
	return fixNeighbour(n.host, link, inside, n.cfg.addr(slot))
}

// lead makes the route to the dyno, which the kernel makes itself when a link with an
// address comes up, but not again when somebody flushes routes.
func (n *Network) lead(link netlink.Link, slot int) error {
	err := n.host.RouteReplace(&netlink.Route{
		LinkIndex: link.Attrs().Index, Protocol: unix.RTPROT_KERNEL, Scope: netlink.SCOPE_LINK,
		Dst: subnet(n.cfg.network(slot)), Src: n.cfg.gateway(slot).AsSlice(),
	})
	if err != nil {
		return fmt.Errorf("set route to dyno: %w", err)
	}
	return nil
}

// prepareInside makes links, address and neighbour of the dyno's own side.
func (s *namespace) prepareInside(cfg Config, slot int, host netlink.Link) (netlink.Link, error) {
	lo, err := s.links.LinkByName("lo")
	if err != nil {
		return nil, fmt.Errorf("find link inside: %w", err)
	}
	eth, err := s.links.LinkByName(insideName)
	if err != nil {
		return nil, fmt.Errorf("find link inside: %w", err)
	}
	if err := s.links.AddrReplace(eth, &netlink.Addr{IPNet: subnet(cfg.addr(slot))}); err != nil {
		return nil, fmt.Errorf("set dyno address: %w", err)
	}
	for _, link := range []netlink.Link{lo, eth} {
		if err := s.links.LinkSetUp(link); err != nil {
			return nil, fmt.Errorf("set link up inside: %w", err)
		}
	}
	return eth, fixNeighbour(s.links, eth, host, cfg.gateway(slot))
}

// fixNeighbour tells one end of a link what the other's address is, and takes
// ARP away from it: what nobody listens to, nobody can forge.
func fixNeighbour(links *netlink.Handle, end, other netlink.Link, addr netip.Addr) error {
	if err := links.LinkSetARPOff(end); err != nil {
		return fmt.Errorf("turn ARP off: %w", err)
	}
	err := links.NeighSet(&netlink.Neigh{
		LinkIndex: end.Attrs().Index, Family: unix.AF_INET, State: netlink.NUD_PERMANENT,
		IP: addr.AsSlice(), HardwareAddr: other.Attrs().HardwareAddr,
	})
	if err != nil {
		return fmt.Errorf("fix neighbour: %w", err)
	}
	return nil
}

// awaitCarrier waits until a link that was set up passes packets. The end that
// came up first does so only when a worker of the kernel has heard of the other
// one; what is sent before is lost, and asking for an address again takes a
// second. Since Linux 6.8 the question alone is enough to call the worker.
func awaitCarrier(ctx context.Context, links *netlink.Handle, name string) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	for {
		link, err := links.LinkByName(name)
		if err != nil {
			return fmt.Errorf("find link: %w", err)
		}
		if link.Attrs().OperState == netlink.OperUp {
			return nil
		}
		select {
		case <-time.After(time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("wait for link %s: %w", name, ctx.Err())
		}
	}
}
