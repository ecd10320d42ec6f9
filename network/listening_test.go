package network_test

import (
	"net"
	"strconv"
	"testing"

	"github.com/containerd/errdefs"
)

func TestListening(t *testing.T) {
	h := newHost(t)
	id, a := h.setup(0)
	for _, addr := range []string{"0.0.0.0:0", "127.0.0.1:0", "[::]:0", a.Addr.String() + ":0"} {
		l := h.listen(a.Namespace, addr)
		_, text, _ := net.SplitHostPort(l.Addr().String())
		port, _ := strconv.ParseUint(text, 10, 16)
		if !h.listening(id, uint16(port)) {
			t.Errorf("listener on %s not seen", l.Addr())
		}
		if h.listening(id, uint16(port)+1) {
			t.Errorf("listener on %s seen on the port above", l.Addr())
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		if h.listening(id, uint16(port)) {
			t.Errorf("listener on %s seen when closed", l.Addr())
		}
	}
}

// TestListeningIsNotConnected uses the port without listening on it, and listens
// on it elsewhere.
func TestListeningIsNotConnected(t *testing.T) {
	h := newHost(t)
	id, a := h.setup(0)
	_, b := h.setup(1)
	h.serve(h.Outside(), outside(3000))
	h.serve(b.Namespace, ":3000")
	conn, _, err := h.dial(a.Namespace, outside(3000))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if h.listening(id, 3000) || h.listening(id, uint16(conn.LocalAddr().(*net.TCPAddr).Port)) {
		t.Error("a connection, or another dyno's listener, was taken for a listener")
	}
}

func TestListeningOfAnUnknownDyno(t *testing.T) {
	h := newHost(t)
	if _, err := h.Listening(t.Context(), "nobody", 3000); !errdefs.IsNotFound(err) {
		t.Errorf("got %v, want not found", err)
	}
}

func (h *host) listening(id string, port uint16) bool {
	h.t.Helper()
	on, err := h.Listening(h.t.Context(), id, port)
	if err != nil {
		h.t.Fatal(err)
	}
	return on
}
