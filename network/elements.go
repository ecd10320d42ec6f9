package network

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/nftables"
	"github.com/mdlayher/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// changeElements marks a link by mark, and then takes elements out of the firewall
// and puts others in, in one transaction. Nobody who compares table and links sees
// one without the other. Elements that are there already are no error. If the
// table is missing or otherwise not as was thought, it is loaded anew: the links
// say already what it has to be.
func (n *Network) changeElements(ctx context.Context, mark func() error, out, in []element) error {
	var changes []change
	for _, e := range out {
		changes = append(changes, e.delete)
	}
	for _, e := range in {
		changes = append(changes, e.add)
	}
	if changes == nil {
		return mark()
	}
	err := n.elements.change(mark, changes...)
	if errors.Is(err, unix.EEXIST) || errors.Is(err, unix.ENOENT) {
		n.log.Warn("firewall table was not as it should be", "err", err)
		return n.load(ctx)
	}
	if err != nil {
		return fmt.Errorf("change firewall elements: %w", err)
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
	port   atomic.Uint32 // netlink's address of socket: its changes are ours
	shape  string        // of the table as it was loaded
}

type change func(*nftables.Conn) error

// change sends changes as one transaction, once before has been done. After an
// error the connection may still hold answers to this question, and is not used
// again.
func (e *elements) change(before func() error, changes ...change) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if err := before(); err != nil {
		return err
	}
	return e.ask(func(c *nftables.Conn) error {
		for _, change := range changes {
			if err := change(c); err != nil {
				return err
			}
		}
		return c.Flush()
	})
}

// ask lends the connection to f. The caller holds mu.
func (e *elements) ask(f change) error {
	err := e.open()
	if err == nil {
		err = e.socket.SetDeadline(time.Now().Add(callTimeout))
	}
	if err == nil {
		err = f(e.conn)
	}
	if err != nil {
		err = errors.Join(err, e.close())
	}
	return err
}

func (e *elements) open() (err error) {
	if e.conn != nil {
		return nil
	}
	keep := func(c *netlink.Conn) error {
		port, err := portOf(c)
		e.socket = c
		e.port.Store(port)
		return err
	}
	e.conn, err = nftables.New(nftables.AsLasting(), nftables.WithNetNSFd(int(e.ns)), nftables.WithSockOptions(keep))
	return err
}

// portOf is the address that the kernel gave to a socket.
func portOf(c *netlink.Conn) (port uint32, err error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return 0, err
	}
	var addr unix.Sockaddr
	controlErr := raw.Control(func(fd uintptr) { addr, err = unix.Getsockname(int(fd)) })
	if own, ok := addr.(*unix.SockaddrNetlink); ok {
		port = own.Pid
	}
	return port, errors.Join(controlErr, err)
}

func (e *elements) close() error {
	if e.conn == nil {
		return nil
	}
	conn := e.conn
	e.conn, e.socket = nil, nil
	return conn.CloseLasting()
}
