package network

import (
	"errors"
	"fmt"
	"math/bits"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// nowhere are the destinations that no dyno has a way to: where clouds keep
// their metadata service, and all of IPv6, should anybody turn that on.
var nowhere = []netip.Prefix{
	netip.MustParsePrefix("169.254.0.0/16"),
	netip.MustParsePrefix("fd00:ec2::254/128"),
	netip.MustParsePrefix("fe80::/10"),
	netip.MustParsePrefix("::/0"),
}

// behind is the metric of routes that give way to the dyno's own link.
const behind = 1

// route sends everything out by the gateway, except what is closed to dynos:
// those routes stay when somebody flushes all rules of the host. Other dynos are
// open to one that is in a space; the firewall decides to which.
func (s *namespace) route(eth netlink.Link, cfg Config, slot int, open bool) error {
	for _, p := range nowhere {
		if err := s.links.RouteReplace(prohibit(p)); err != nil && !noIPv6(p, err) {
			return fmt.Errorf("prohibit %s: %w", p, err)
		}
	}
	for _, p := range cover(cfg.first(), cfg.last()) {
		if err := s.neighbours(prohibit(p), open); err != nil {
			return fmt.Errorf("route to other dynos: %w", err)
		}
	}
	out := &netlink.Route{Gw: cfg.gateway(slot).AsSlice(), LinkIndex: eth.Attrs().Index}
	if err := s.links.RouteReplace(out); err != nil {
		return fmt.Errorf("set default route: %w", err)
	}
	return nil
}

func (s *namespace) neighbours(closed *netlink.Route, open bool) error {
	if !open {
		return s.links.RouteReplace(closed)
	}
	if err := s.links.RouteDel(closed); err != nil && !errors.Is(err, unix.ESRCH) {
		return err
	}
	return nil
}

// noIPv6 says whether a kernel without IPv6 refused an IPv6 route.
func noIPv6(p netip.Prefix, err error) bool {
	return p.Addr().Is6() && (errors.Is(err, unix.EAFNOSUPPORT) || errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EACCES))
}

func prohibit(p netip.Prefix) *netlink.Route {
	dst := &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
	return &netlink.Route{Dst: dst, Type: unix.RTN_PROHIBIT, Priority: behind}
}

// cover is the shortest list of networks that holds exactly the IPv4 addresses
// from first to last.
func cover(first, last netip.Addr) (all []netip.Prefix) {
	at, end := uint64(toUint(first)), uint64(toUint(last))+1
	for at < end {
		size := min(bits.TrailingZeros64(at|1<<32), bits.Len64(end-at)-1)
		all = append(all, netip.PrefixFrom(fromUint(uint32(at)), 32-size))
		at += 1 << size
	}
	return all
}
