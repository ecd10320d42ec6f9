package host

import (
	"fmt"
	"net"
	"sync"

	"golang.org/x/crypto/ssh"
)

// listener takes connections to a port of the host, also after the host was off and on again.
type listener struct {
	address net.Addr
	conns   chan net.Conn
	closed  chan struct{}
	once    sync.Once
}

// Listen takes connections that are made to 127.0.0.1:port inside the host, from now on and whenever it is on.
func (h *Host) Listen(port int) (net.Listener, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	l := &listener{&net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port}, make(chan net.Conn), make(chan struct{}), sync.Once{}}
	h.listeners = append(h.listeners, l)
	if h.link == nil {
		return l, nil
	}
	return l, l.attach(h.link)
}

// attach goes on until the host goes off.
func (l *listener) attach(link *ssh.Client) error {
	remote, err := link.Listen("tcp", l.address.String())
	if err != nil {
		return fmt.Errorf("listen in the host: %w", err)
	}
	go func() {
		for {
			conn, err := remote.Accept()
			if err != nil {
				return
			}
			select {
			case l.conns <- conn:
			case <-l.closed:
				_ = conn.Close()
				return
			}
		}
	}()
	return nil
}

// Accept implements net.Listener.
func (l *listener) Accept() (net.Conn, error) {
	select {
	case conn := <-l.conns:
		return conn, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener. The host may be off.
func (l *listener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

// Addr implements net.Listener.
func (l *listener) Addr() net.Addr { return l.address }
