package upstream

import (
	"net"
	"sync"
)

// wire is a listener whose connections can be cut.
type wire struct {
	net.Listener
	mu      sync.Mutex
	conns   map[*conn]bool
	refuses bool
}

type conn struct {
	net.Conn
	wire *wire
}

func newWire(l net.Listener) *wire { return &wire{Listener: l, conns: map[*conn]bool{}} }

// Accept takes the next connection; while the wire is down it closes all that come.
func (w *wire) Accept() (net.Conn, error) {
	for {
		c, err := w.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if c := (&conn{c, w}); w.keep(c) {
			return c, nil
		}
		_ = c.Close()
	}
}

func (w *wire) keep(c *conn) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.refuses {
		w.conns[c] = true
	}
	return !w.refuses
}

func (w *wire) set(refuses bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.refuses = refuses
}

func (w *wire) down() {
	w.set(true)
	w.cut()
}

func (w *wire) up() { w.set(false) }

// cut ends every connection at once, without a word in TLS or HTTP.
func (w *wire) cut() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for c := range w.conns {
		_ = c.Conn.Close()
	}
}

// Close ends one.
func (c *conn) Close() error {
	c.wire.mu.Lock()
	delete(c.wire.conns, c)
	c.wire.mu.Unlock()
	return c.Conn.Close()
}
