package network

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// Survey looks at a host, with an agent or without one, and leaves it as it is.
type Survey struct{ n *Network }

// NewSurvey looks at the network namespace that the caller's thread is in. Close it
// when done. Errors of the class errdefs.ErrInvalidArgument are those of New.
func NewSurvey(cfg Config) (*Survey, error) {
	n, err := open(cfg)
	if err != nil {
		return nil, err
	}
	return &Survey{n}, nil
}

func open(cfg Config) (*Network, error) {
	cfg, err := cfg.complete()
	if err != nil {
		return nil, err
	}
	n := &Network{cfg: cfg, log: slog.New(slog.DiscardHandler), ns: netns.None()}
	if err := n.open(); err != nil {
		return nil, errors.Join(err, n.Close())
	}
	return n, nil
}

// Close ends the survey.
func (s *Survey) Close() error { return s.n.Close() }

// Obstacles are what other firewalls do to packets of dynos.
func (s *Survey) Obstacles() ([]Obstacle, error) { return s.n.findObstacles() }

// Range is the first and the last address of dynos.
func (s *Survey) Range() (first, last netip.Addr) { return s.n.cfg.first(), s.n.cfg.last() }

// Foreign is the error with which New would refuse the host for an address of it,
// else nil.
func (s *Survey) Foreign() error { return s.n.checkForeign() }

// Routes are the routes of others into the addresses of dynos: what they lead to is
// hidden by dynos, or dynos by it.
func (s *Survey) Routes() (all []string, err error) {
	everywhere := &netlink.Route{Table: unix.RT_TABLE_UNSPEC}
	routes, err := dump(func() ([]netlink.Route, error) {
		return s.n.host.RouteListFiltered(netlink.FAMILY_V4, everywhere, netlink.RT_FILTER_TABLE)
	})
	if err != nil {
		return nil, fmt.Errorf("list routes: %w", err)
	}
	links, err := dump(s.n.host.LinkList)
	if err != nil {
		return nil, fmt.Errorf("list links: %w", err)
	}
	names := map[int]string{}
	for _, l := range links {
		if a := l.Attrs(); a.Group != linkGroup {
			names[a.Index] = a.Name
		}
	}
	for _, r := range routes {
		dst, collides := s.collides(r)
		if name, foreign := names[r.LinkIndex]; collides && foreign {
			all = append(all, fmt.Sprintf("route to %s by link %s", dst, name))
		}
	}
	return all, nil
}

// collides leaves out the default route, and what the kernel made of the addresses
// of links.
func (s *Survey) collides(r netlink.Route) (netip.Prefix, bool) {
	if r.Dst == nil || r.Type != unix.RTN_UNICAST || r.Protocol == unix.RTPROT_KERNEL {
		return netip.Prefix{}, false
	}
	ip, _ := netip.AddrFromSlice(r.Dst.IP.To4())
	ones, _ := r.Dst.Mask.Size()
	dst := netip.PrefixFrom(ip, ones)
	return dst, ones > 0 && s.n.cfg.overlaps(dst)
}

// Try says whether the kernel has what a dyno's network needs: it loads the table of
// the configuration and makes a link with a bandwidth limit, in a namespace of its
// own that is gone afterwards.
func (s *Survey) Try(ctx context.Context) error {
	return onThread(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("make network namespace: %w", err)
		}
		n, err := open(s.n.cfg)
		if err != nil {
			return err
		}
		return errors.Join(n.try(ctx), n.Close())
	})
}

// try has both ends of the link in the namespace that stands for the host.
func (n *Network) try(ctx context.Context) error {
	if err := n.load(ctx); err != nil {
		return err
	}
	link, err := n.makeLink(0, &namespace{ns: n.ns})
	if err != nil {
		return err
	}
	return shape(n.host, link, minBurst)
}
