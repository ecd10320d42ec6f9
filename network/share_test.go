package network_test

import (
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"time"

	"github.com/dynod/dynod/network"
)

func sizes(c *network.Config) {
	c.Sizes = map[string]network.Limits{
		"few": {Connections: 5}, "many": {Connections: 50}, "rare": {Rate: 5}, "slow": {Bandwidth: 1 << 20},
	}
}

func sized(size string) func(*network.Request) { return func(r *network.Request) { r.Size = size } }

// connections opens n connections that stay, and says how many came about.
func (h *host) connections(ns, addr string, n int) (open int) {
	h.t.Helper()
	for range n {
		conn, _, err := h.dialWithin(patience, ns, addr)
		if err == nil {
			h.t.Cleanup(func() { _ = conn.Close() })
			open++
		}
	}
	return open
}

func TestConnectionsAreLimitedBySize(t *testing.T) {
	h := newHost(t, sizes)
	h.serve(h.Outside(), outside(80))
	r, a := h.request(0, sized("few"))
	h.prepare(1)
	_, b := h.request(1, sized("few"))
	_, other := h.request(2, sized("unknown"))
	if n := h.connections(a.Namespace, outside(80), 7); n != 5 {
		t.Errorf("%d connections, want 5", n)
	}
	h.denied("denied_connections")
	if n := h.connections(b.Namespace, outside(80), 6); n != 5 {
		t.Errorf("made ahead: %d connections, want 5", n)
	}
	if n := h.connections(other.Namespace, outside(80), 8); n != 8 {
		t.Errorf("no limit: %d connections, want 8", n)
	}
	r.Size = "many"
	h.again(r)
	if n := h.connections(a.Namespace, outside(80), 8); n != 8 {
		t.Errorf("limit raised: %d more connections, want 8", n)
	}
	h.restart()
	if n := h.connections(b.Namespace, outside(80), 6); n != 5 {
		t.Errorf("after a restart: %d more connections, want 5, for it counts anew", n)
	}
}

func TestNewConnectionsAreLimitedBySize(t *testing.T) {
	h := newHost(t, sizes)
	h.serve(h.Outside(), outside(80))
	_, a := h.request(0, sized("rare"))
	begin := time.Now()
	const asked = 12
	n := h.connections(a.Namespace, outside(80), asked)
	if most := 5 + int(5*time.Since(begin).Seconds()); n < 5 || n > most || n == asked {
		t.Errorf("%d connections in %s, want 5 to %d", n, time.Since(begin), most)
	}
	h.denied("denied_rate")
}

func TestBandwidthIsLimitedBySize(t *testing.T) {
	h := newHost(t, sizes)
	h.serve(h.Outside(), outside(80))
	r, a := h.request(0, sized("slow"))
	h.prepare(1)
	_, ahead := h.request(1, sized("slow"))
	h.sink(h.Outside(), outside(81))
	h.sink(a.Namespace, ":3000")
	if took := h.push(a.Namespace, outside(81)); took < slowly {
		t.Errorf("outwards: a MiB in %s", took)
	}
	if took := h.push(h.Outside(), onHost(a.HostPort)); took < slowly {
		t.Errorf("inwards: a MiB in %s", took)
	}
	if took := h.push(ahead.Namespace, outside(81)); took < slowly {
		t.Errorf("made ahead: a MiB in %s", took)
	}
	r.Size = ""
	h.again(r)
	for _, way := range [][2]string{{a.Namespace, outside(81)}, {h.Outside(), onHost(a.HostPort)}} {
		took := h.push(way[0], way[1])
		for range 4 { // the machine may be busy
			took = min(took, h.push(way[0], way[1]))
		}
		if took >= slowly {
			t.Errorf("no limit: a MiB in %s", took)
		}
	}
}

// TestSharesChangeInALife changes every limit and the policy while connections stay
// open, first by the order and then by the configuration.
func TestSharesChangeInALife(t *testing.T) {
	h := newHost(t, sizes, policies)
	h.serve(h.Outside(), outside(80))
	h.sink(h.Outside(), outside(81))
	r, a := h.request(0, sized(""))
	h.serve(a.Namespace, ":3000")
	open := []net.Conn{h.connected(a.Namespace, outside(80)), h.connected(h.Outside(), onHost(a.HostPort))}
	change := func(size, policy string) {
		t.Helper()
		r.Size, r.Policy = size, policy
		h.again(r)
		for _, conn := range open {
			h.still(conn)
		}
	}
	opens := func(asked, least, most int) {
		t.Helper()
		if n := h.connections(a.Namespace, outside(80), asked); n < least || n > most {
			t.Errorf("size %q, policy %q: %d connections of %d, want %d to %d", r.Size, r.Policy, n, asked, least, most)
		}
	}
	opens(7, 7, 7)
	change("few", "")
	opens(7, 5, 5)
	change("many", "")
	opens(7, 7, 7)
	change("rare", "")
	opens(12, 5, 11)
	change("rare", "no-80")
	opens(2, 0, 0)
	change("slow", "")
	opens(2, 2, 2)
	if took := h.push(a.Namespace, outside(81)); took < slowly {
		t.Errorf("bandwidth limited: a MiB in %s", took)
	}
	h.change = append(h.change, func(c *network.Config) { c.Sizes["slow"] = network.Limits{Connections: 2} })
	h.restart()
	change("slow", "")
	if took := h.push(a.Namespace, outside(81)); took >= slowly {
		t.Errorf("bandwidth no longer limited: a MiB in %s", took)
	}
	opens(3, 1, 2) // the one before may still count
}

// sink reads all that it is sent and closes then.
func (h *host) sink(ns, addr string) {
	h.t.Helper()
	l := h.listen(ns, addr)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = io.Copy(io.Discard, conn)
			_ = conn.Close()
		}
	}()
	h.t.Cleanup(func() { _ = l.Close(); <-done })
}

// slowly is what a MiB takes at least, less what passes at once, at a MiB a second.
const slowly = 600 * time.Millisecond

// push sends a MiB to a sink and says how long that took.
func (h *host) push(ns, addr string) time.Duration {
	h.t.Helper()
	var conn net.Conn
	err := h.Do(ns, func() (err error) {
		conn, err = net.DialTimeout("tcp", addr, 5*time.Second)
		return err
	})
	if err != nil {
		h.t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	begin := time.Now()
	_, err = conn.Write(make([]byte, 1<<20))
	_ = conn.(*net.TCPConn).CloseWrite()
	_, readErr := conn.Read(make([]byte, 1))
	if err := errors.Join(err, readErr); !errors.Is(err, io.EOF) || errors.Is(err, os.ErrDeadlineExceeded) {
		h.t.Fatal(err)
	}
	return time.Since(begin)
}
