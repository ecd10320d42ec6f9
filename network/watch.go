package network

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"net/netip"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// news is what the kernel has told since somebody looked, as a token in a channel.
type news struct {
	touched chan struct{} // our table, or a dyno's link
	foreign chan struct{} // somebody else's table
}

func tell(about chan<- struct{}) {
	select {
	case about <- struct{}{}:
	default: // nobody has looked since the last news
	}
}

// watchFirewall passes on that somebody else changed a rule of this host. Tables of
// others may change many times a second, and ours is not looked at for that.
func (n *Network) watchFirewall(ctx context.Context, about news) error {
	return n.watch(ctx, unix.NETLINK_NETFILTER, []uint32{unix.NFNLGRP_NFTABLES}, func(m *netlink.Message) {
		switch {
		case m == nil:
			tell(about.touched)
			tell(about.foreign)
		case m.Header.PID == n.elements.port.Load() || m.Header.Type&0xff == unix.NFT_MSG_NEWGEN:
		case isOurs(m):
			tell(about.touched)
		default:
			tell(about.foreign)
		}
	})
}

// isOurs says whether a message about anything in a table is about ours. The first
// attribute of all of them is the table's name.
func isOurs(m *netlink.Message) bool {
	const header, table = 4, 1
	name := attribute(m.Data, header, table)
	return unix.ByteSliceToString(name) == inetTable.Name && m.Data[0] == byte(inetTable.Family)
}

// watchLinks passes on that a link of a dyno is down or has lost an address, the
// neighbour or the route, or that the host's forwarding changed.
func (n *Network) watchLinks(ctx context.Context, about news) error {
	groups := []uint32{unix.RTNLGRP_LINK, unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_NEIGH, unix.RTNLGRP_IPV4_ROUTE, unix.RTNLGRP_IPV4_NETCONF}
	return n.watch(ctx, unix.NETLINK_ROUTE, groups, func(m *netlink.Message) {
		if m == nil || n.damaging(m) {
			tell(about.touched)
		}
	})
}

func (n *Network) damaging(m *netlink.Message) bool {
	var name []byte
	switch m.Header.Type {
	case unix.RTM_DELLINK:
		name = attribute(m.Data, unix.SizeofIfInfomsg, unix.IFLA_IFNAME)
	case unix.RTM_NEWLINK:
		return n.disfigured(m.Data)
	case unix.RTM_DELADDR:
		name = attribute(m.Data, unix.SizeofIfAddrmsg, unix.IFA_LABEL)
	case unix.RTM_DELNEIGH:
		return n.leads(attribute(m.Data, unix.SizeofNdMsg, unix.NDA_DST))
	case unix.RTM_DELROUTE:
		return n.leads(attribute(m.Data, unix.SizeofRtMsg, unix.RTA_DST))
	case unix.RTM_NEWNETCONF:
		const header = 4 // a family, padded
		return bytes.Equal(attribute(m.Data, header, netconfLink), allLinks)
	}
	_, kept := n.keeps(name)
	return kept
}

// disfigured says whether a link of a dyno is down, not deaf or not marked as it must be.
func (n *Network) disfigured(link []byte) bool {
	r, kept := n.keeps(attribute(link, unix.SizeofIfInfomsg, unix.IFLA_IFNAME))
	alias := attribute(link, unix.SizeofIfInfomsg, unix.IFLA_IFALIAS)
	return kept && (binary.NativeEndian.Uint32(link[8:])&quiet != quiet || unix.ByteSliceToString(alias) != r.owner().alias())
}

// leads says whether an address, or the first one of a network, is a dyno's; one made ahead is looked at when it is taken.
func (n *Network) leads(to []byte) bool {
	addr, _ := netip.AddrFromSlice(to)
	if !addr.Is4() || addr.Less(n.cfg.first()) || n.cfg.last().Less(addr) {
		return false
	}
	slot := int(toUint(addr)-toUint(n.cfg.first())) / perSlot
	n.spares.hurt(slot)
	return n.health.in(slot) != ""
}

// keeps is what the dyno was promised whose link has this name.
func (n *Network) keeps(link []byte) (Request, bool) {
	slot, named := slotOfName(unix.ByteSliceToString(link))
	if !named {
		return Request{}, false
	}
	return n.health.of(n.health.in(slot))
}

// The settings of all links together, as the kernel tells of them
// (NETCONFA_IFINDEX, NETCONFA_IFINDEX_ALL).
const netconfLink = 1

var allLinks = binary.NativeEndian.AppendUint32(nil, math.MaxUint32)

// attribute is a value in a message of the kernel, after its header.
func attribute(data []byte, header int, kind uint16) (value []byte) {
	if len(data) < header {
		return nil
	}
	attributes, err := netlink.NewAttributeDecoder(data[header:])
	if err != nil {
		return nil
	}
	for attributes.Next() {
		if attributes.Type() == kind {
			value = attributes.Bytes()
		}
	}
	return value
}

// watch lets hear have what the kernel tells to groups, until ctx ends; nil for what
// got lost on the way.
func (n *Network) watch(ctx context.Context, family int, groups []uint32, hear func(*netlink.Message)) error {
	conn, err := netlink.Dial(family, &netlink.Config{NetNS: int(n.ns)})
	if err != nil {
		return fmt.Errorf("listen to the kernel: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	for _, g := range groups {
		if err := conn.JoinGroup(g); err != nil {
			return errors.Join(fmt.Errorf("listen to the kernel: %w", err), conn.Close())
		}
	}
	for {
		messages, err := conn.Receive()
		if ctx.Err() != nil {
			return nil
		}
		if err != nil && !errors.Is(err, unix.ENOBUFS) {
			return errors.Join(fmt.Errorf("listen to the kernel: %w", err), conn.Close())
		}
		if err != nil {
			hear(nil)
		}
		for i := range messages {
			hear(&messages[i])
		}
	}
}
