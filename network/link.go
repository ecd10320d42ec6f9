package network

import (
	"context"
	"errors"
	"fmt"
	"net"
	"regexp"
	"strconv"
	"strings"
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
	aliasMark  = "dynod:"
)

// idForm is what an id must look like to be a file name, part of a link alias
// and a comment of a firewall element.
var idForm = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,62}$`)

// owner is what the alias of a host's end says: whose it is, and where the
// dyno's $PORT is. A link of ours without an owner is half-made, or on its way
// out with its namespace: nobody's.
type owner struct {
	id   string
	port uint16
}

func (o owner) alias() string { return aliasMark + o.id + ":" + strconv.Itoa(int(o.port)) }

func parseAlias(alias string) (owner, bool) {
	rest, marked := strings.CutPrefix(alias, aliasMark)
	id, port, cut := strings.Cut(rest, ":")
	number, err := strconv.ParseUint(port, 10, 16)
	if !marked || !cut || err != nil || number == 0 || !idForm.MatchString(id) {
		return owner{}, false
	}
	return owner{id, uint16(number)}, true
}

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

// makeLink makes the pair of a slot, its far end inside s from the start, and
// claims it for o.
func (n *Network) makeLink(slot int, o owner, s *namespace) (netlink.Link, error) {
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.Group = linkName(slot), linkGroup
	pair := &netlink.Veth{LinkAttrs: attrs, PeerName: insideName, PeerNamespace: netlink.NsFd(int(s.ns))}
	if err := n.host.LinkAdd(pair); err != nil {
		return nil, fmt.Errorf("make link: %w", err)
	}
	link, err := n.host.LinkByName(attrs.Name)
	if err != nil {
		return nil, fmt.Errorf("find link: %w", err)
	}
	if err := n.host.LinkSetAlias(link, o.alias()); err != nil {
		return nil, fmt.Errorf("claim link: %w", err)
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

// prepareHostEnd gives the host's end everything but life.
func (n *Network) prepareHostEnd(link netlink.Link, slot int) error {
	err := within(n.ns, func() error {
		_, err := apply(hostEnd(link.Attrs().Name)...)
		return err
	})
	if err != nil {
		return err
	}
	if err := n.host.AddrReplace(link, &netlink.Addr{IPNet: subnet(n.cfg.gateway(slot))}); err != nil {
		return fmt.Errorf("set gateway address: %w", err)
	}
	return nil
}

// prepareInside makes links, address and routes of the dyno's own side.
func (s *namespace) prepareInside(cfg Config, slot int) error {
	if _, err := s.up("lo"); err != nil {
		return err
	}
	eth, err := s.links.LinkByName(insideName)
	if err != nil {
		return fmt.Errorf("find link inside: %w", err)
	}
	if err := s.links.AddrReplace(eth, &netlink.Addr{IPNet: subnet(cfg.addr(slot))}); err != nil {
		return fmt.Errorf("set dyno address: %w", err)
	}
	if _, err := s.up(insideName); err != nil {
		return err
	}
	return s.route(eth, cfg.gateway(slot).AsSlice())
}

func (s *namespace) up(name string) (netlink.Link, error) {
	link, err := s.links.LinkByName(name)
	if err != nil {
		return nil, fmt.Errorf("find link inside: %w", err)
	}
	if err := s.links.LinkSetUp(link); err != nil {
		return nil, fmt.Errorf("set link up inside: %w", err)
	}
	return link, nil
}

// linkLocal is where clouds keep their metadata service.
var linkLocal = &net.IPNet{IP: net.IPv4(169, 254, 0, 0).To4(), Mask: net.CIDRMask(16, 32)}

// route sends everything out by the gateway except what is link-local: that
// route stays when somebody flushes all rules of the host.
func (s *namespace) route(eth netlink.Link, gateway net.IP) error {
	prohibit := &netlink.Route{Dst: linkLocal, Type: unix.RTN_PROHIBIT}
	if err := s.links.RouteReplace(prohibit); err != nil {
		return fmt.Errorf("prohibit link-local addresses: %w", err)
	}
	out := &netlink.Route{Gw: gateway, LinkIndex: eth.Attrs().Index}
	if err := s.links.RouteReplace(out); err != nil {
		return fmt.Errorf("set default route: %w", err)
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
