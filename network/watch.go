package network

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// watchFirewall passes on that somebody else changed a rule of this host.
func (n *Network) watchFirewall(ctx context.Context, touched chan<- struct{}) error {
	foreign := func(m netlink.Message) bool { return m.Header.PID != n.elements.port.Load() }
	return n.watch(ctx, unix.NETLINK_NETFILTER, []uint32{unix.NFNLGRP_NFTABLES}, foreign, touched)
}

// watchLinks passes on that a link of a dyno is down or has lost an address, or
// that the host's forwarding changed.
func (n *Network) watchLinks(ctx context.Context, touched chan<- struct{}) error {
	groups := []uint32{unix.RTNLGRP_LINK, unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV4_NETCONF}
	return n.watch(ctx, unix.NETLINK_ROUTE, groups, n.damaging, touched)
}

func (n *Network) damaging(m netlink.Message) bool {
	var name []byte
	switch m.Header.Type {
	case unix.RTM_DELLINK:
		name = attribute(m.Data, unix.SizeofIfInfomsg, unix.IFLA_IFNAME)
	case unix.RTM_NEWLINK:
		if len(m.Data) >= unix.SizeofIfInfomsg && binary.NativeEndian.Uint32(m.Data[8:])&quiet != quiet {
			name = attribute(m.Data, unix.SizeofIfInfomsg, unix.IFLA_IFNAME)
		}
	case unix.RTM_DELADDR:
		name = attribute(m.Data, unix.SizeofIfAddrmsg, unix.IFA_LABEL)
	case unix.RTM_NEWNETCONF:
		const header = 4 // a family, padded
		return bytes.Equal(attribute(m.Data, header, netconfLink), allLinks)
	}
	slot, named := slotOfName(unix.ByteSliceToString(name))
	return named && n.health.in(slot) != ""
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

// watch reads what the kernel tells to groups until ctx ends, and passes on that
// there was something that concerns us. What gets lost on the way may have.
func (n *Network) watch(ctx context.Context, family int, groups []uint32, concerns func(netlink.Message) bool, touched chan<- struct{}) error {
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
		news := err != nil
		for _, m := range messages {
			news = news || concerns(m)
		}
		if news {
			select {
			case touched <- struct{}{}:
			default: // nobody has looked since the last news
			}
		}
	}
}
