package network

import (
	"fmt"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// quiet is what a link of a dyno must be: up, and deaf to ARP.
const quiet = unix.IFF_UP | unix.IFF_RUNNING | unix.IFF_NOARP

// place is an address or network that the host has at a link.
type place struct {
	link int // its index
	addr string
}

// soundLinks are the aliases of links that are as Setup leaves them. A list of each
// kind tells of all dynos, at less than a question about each would cost.
func (n *Network) soundLinks() (map[string]bool, error) {
	links, err := dump(n.host.LinkList)
	if err != nil {
		return nil, fmt.Errorf("list links: %w", err)
	}
	has, err := n.places()
	if err != nil {
		return nil, err
	}
	sound := map[string]bool{}
	for _, l := range links {
		if n.sound(l.Attrs(), has) {
			sound[l.Attrs().Alias] = true
		}
	}
	return sound, nil
}

// places are the host's own addresses, its neighbours that stay, and the networks
// that it has routes to.
func (n *Network) places() (map[place]bool, error) {
	addrs, err := n.listAddrs()
	if err != nil {
		return nil, err
	}
	neighbours, err := dump(func() ([]netlink.Neigh, error) { return n.host.NeighList(0, netlink.FAMILY_V4) })
	if err != nil {
		return nil, fmt.Errorf("list neighbours: %w", err)
	}
	routes, err := dump(func() ([]netlink.Route, error) { return n.host.RouteList(nil, netlink.FAMILY_V4) })
	if err != nil {
		return nil, fmt.Errorf("list routes: %w", err)
	}
	has := map[place]bool{}
	for _, a := range addrs {
		has[place{a.LinkIndex, a.IP.String()}] = true
	}
	for _, one := range neighbours {
		if one.State == netlink.NUD_PERMANENT {
			has[place{one.LinkIndex, one.IP.String()}] = true
		}
	}
	for _, r := range routes {
		has[place{r.LinkIndex, r.Dst.String()}] = true
	}
	return has, nil
}

// sound says whether a link is as Setup leaves it. One that was down for a moment has
// lost its neighbour, which the kernel does not give back.
func (n *Network) sound(link *netlink.LinkAttrs, has map[place]bool) bool {
	slot, named := slotOfName(link.Name)
	return named && link.Group == linkGroup && link.RawFlags&quiet == quiet && link.OperState == netlink.OperUp &&
		has[place{link.Index, n.cfg.gateway(slot).String()}] &&
		has[place{link.Index, n.cfg.addr(slot).String()}] &&
		has[place{link.Index, subnet(n.cfg.network(slot)).String()}]
}
