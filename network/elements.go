package network

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/google/nftables"
	"github.com/mdlayher/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// The set and the map of table.nft, as far as it takes to change elements.
var (
	inetTable  = &nftables.Table{Name: "dynod", Family: nftables.TableFamilyINet}
	sourcesSet = &nftables.Set{Table: inetTable, Name: "sources"}
	portsMap   = &nftables.Set{Table: inetTable, Name: "ports", IsMap: true}
)

// addElements lets d send by its own address and be reached by its host port.
// Elements that are there already are no error; an older one of the same slot
// with another value gives way; a missing table is loaded anew.
func (n *Network) addElements(ctx context.Context, d dyno) error {
	err := n.elements.change(d.addSource, d.addPort)
	if errors.Is(err, unix.EEXIST) {
		err = n.elements.change(d.deletePort, d.addSource, d.addPort)
	}
	if errors.Is(err, unix.ENOENT) {
		n.log.Warn("firewall table was missing")
		return n.load(ctx) // with d, whose link has its alias by now
	}
	if err != nil {
		return fmt.Errorf("add firewall elements: %w", err)
	}
	return nil
}

// removeElements takes back what addElements gave. It tries one by one if any
// is missing, so that this does not save the other.
func (n *Network) removeElements(d dyno) error {
	err := n.elements.change(d.deleteSource, d.deletePort)
	if err == nil {
		return nil
	}
	if !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("remove firewall elements: %w", err)
	}
	for _, one := range []change{d.deleteSource, d.deletePort} {
		if err := n.elements.change(one); err != nil && !errors.Is(err, unix.ENOENT) {
			return fmt.Errorf("remove firewall element: %w", err)
		}
	}
	return nil
}

// elements changes the elements of the table, one transaction at a time. It
// keeps its connection: closing one waits some 10 ms for the kernel to free
// what was deleted through it.
type elements struct {
	ns     netns.NsHandle
	mu     sync.Mutex // also held while the table is replaced
	conn   *nftables.Conn
	socket *netlink.Conn // that of conn
}

type change func(*nftables.Conn) error

// change sends changes as one transaction. After an error the connection may
// still hold answers to this question, and is not used again.
func (e *elements) change(changes ...change) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	err := e.send(changes)
	if err != nil {
		err = errors.Join(err, e.close())
	}
	return err
}

func (e *elements) send(changes []change) error {
	if err := e.open(); err != nil {
		return err
	}
	if err := e.socket.SetDeadline(time.Now().Add(callTimeout)); err != nil {
		return err
	}
	for _, c := range changes {
		if err := c(e.conn); err != nil {
			return err
		}
	}
	return e.conn.Flush()
}

func (e *elements) open() (err error) {
	if e.conn != nil {
		return nil
	}
	keep := func(c *netlink.Conn) error { e.socket = c; return nil }
	e.conn, err = nftables.New(nftables.AsLasting(), nftables.WithNetNSFd(int(e.ns)), nftables.WithSockOptions(keep))
	return err
}

func (e *elements) close() error {
	if e.conn == nil {
		return nil
	}
	conn := e.conn
	e.conn, e.socket = nil, nil
	return conn.CloseLasting()
}

func (d dyno) addSource(c *nftables.Conn) error { return c.SetAddElements(sourcesSet, d.source()) }
func (d dyno) addPort(c *nftables.Conn) error   { return c.SetAddElements(portsMap, d.port()) }
func (d dyno) deleteSource(c *nftables.Conn) error {
	return c.SetDeleteElements(sourcesSet, d.source())
}

func (d dyno) deletePort(c *nftables.Conn) error { return c.SetDeleteElements(portsMap, d.port()) }

// source is the element of the set sources: name padded to 16 bytes . address.
func (d dyno) source() []nftables.SetElement {
	key := make([]byte, unix.IFNAMSIZ, unix.IFNAMSIZ+4)
	copy(key, d.Link)
	return []nftables.SetElement{{Key: append(key, d.Addr.AsSlice()...), Comment: d.ID}}
}

// port is the element of the map ports. Each part of a joined value takes a
// multiple of four bytes.
func (d dyno) port() []nftables.SetElement {
	port := binary.BigEndian.AppendUint16(d.Addr.AsSlice(), d.Port)
	return []nftables.SetElement{{
		Key:     binary.BigEndian.AppendUint16(nil, d.HostPort),
		Val:     append(port, 0, 0),
		Comment: d.ID,
	}}
}
