package network

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// connections deletes tracked connections. To find any, the kernel walks its
// whole table, which takes some 10 ms of CPU time however few there are: so one
// walk serves everybody who asked before it began, and there is none if the host
// tracks nothing.
type connections struct {
	host    *netlink.Handle
	count   *os.File // how many there are; nil if the kernel does not say
	mu      sync.Mutex
	next    *walk         // collects addresses; nil if nobody waits for a walk
	walking chan struct{} // holds one token during a walk
}

type walk struct {
	of   map[netip.Addr]bool
	done chan struct{} // closed when err holds the outcome
	err  error
}

// forget deletes the tracked connections from and to a dyno, so that nobody's
// packets reach the next one with its address.
func (c *connections) forget(ctx context.Context, addr netip.Addr) error {
	w, first := c.join(addr)
	if first {
		c.lead(w)
	}
	select {
	case <-w.done:
		return w.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// join adds addr to the next walk. Whoever is first has to lead it.
func (c *connections) join(addr netip.Addr) (w *walk, first bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.next == nil {
		c.next = &walk{of: map[netip.Addr]bool{}, done: make(chan struct{})}
		first = true
	}
	c.next.of[addr] = true
	return c.next, first
}

// lead waits for the walk before, which callTimeout bounds, and does this one.
func (c *connections) lead(w *walk) {
	c.walking <- struct{}{}
	c.mu.Lock()
	c.next = nil // whoever comes now is too late for w
	c.mu.Unlock()
	if !c.none() {
		if _, err := c.host.ConntrackDeleteFilters(netlink.ConntrackTable, unix.AF_INET, w); err != nil {
			w.err = fmt.Errorf("delete tracked connections: %w", err)
		}
	}
	close(w.done)
	<-c.walking
}

// openCount opens the number of tracked connections of the calling thread's namespace.
func openCount() (*os.File, error) {
	f, err := os.Open("/proc/sys/net/netfilter/nf_conntrack_count")
	if err != nil && !errors.Is(err, fs.ErrNotExist) { // connection tracking is not loaded yet
		return nil, fmt.Errorf("open number of tracked connections: %w", err)
	}
	return f, nil
}

func (c *connections) close() error {
	if c.count == nil {
		return nil
	}
	return c.count.Close()
}

// none says whether there are certainly no tracked connections.
func (c *connections) none() bool {
	text := make([]byte, 16)
	n, err := c.count.ReadAt(text, 0)
	return (err == nil || errors.Is(err, io.EOF)) && strings.TrimSpace(string(text[:n])) == "0"
}

// MatchConntrackFlow matches connections by the address of a dyno: it either
// opened the connection or is the one that answers, whatever address the peer
// asked for.
func (w *walk) MatchConntrackFlow(f *netlink.ConntrackFlow) bool {
	return w.has(f.Forward.SrcIP) || w.has(f.Reverse.SrcIP)
}

func (w *walk) has(ip net.IP) bool {
	addr, ok := netip.AddrFromSlice(ip)
	return ok && w.of[addr.Unmap()]
}
