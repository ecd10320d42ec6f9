package network_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"go.uber.org/goleak"

	"github.com/dynod/dynod/network"
	"github.com/dynod/dynod/test/lab"
)

// patience is how long a connection may take that must not come about.
const patience = 300 * time.Millisecond

func TestMain(m *testing.M) {
	if dir := os.Getenv(churnDir); dir != "" {
		os.Exit(churn(dir))
	}
	if addr := os.Getenv(echoAt); addr != "" {
		os.Exit(echoes(addr))
	}
	goleak.VerifyTestMain(m)
}

// host is a lab with a Network in its host namespace.
type host struct {
	*lab.Lab
	*network.Network
	t       testing.TB
	change  []func(*network.Config)
	holders []*os.File // of namespaces
	log     slog.Handler
}

// newHost is for tests that do not mind others beside them: each has a lab of its own.
func newHost(t *testing.T, change ...func(*network.Config)) *host {
	t.Parallel()
	return hostOf(t, change...)
}

func hostOf(t testing.TB, change ...func(*network.Config)) *host {
	h := &host{Lab: lab.New(t), t: t, change: change, log: slog.DiscardHandler}
	h.restart()
	t.Cleanup(func() {
		if err := h.Network.Close(); err != nil {
			t.Error(err)
		}
	})
	return h
}

// config keeps namespaces out of the lab's run directory: the leak check would
// look at every file of every sysfs there.
func (h *host) config() network.Config {
	cfg := network.Config{FirstHostPort: 5000, Slots: 100, Dir: filepath.Join(h.Dir(), "netns")}
	for _, change := range h.change {
		change(&cfg)
	}
	return cfg
}

// restart does what a new agent does.
func (h *host) restart() {
	h.t.Helper()
	if h.Network != nil {
		if err := h.Network.Close(); err != nil {
			h.t.Fatal(err)
		}
	}
	n, err := h.open(h.config())
	if err != nil {
		h.t.Fatal(err)
	}
	h.Network = n
}

func (h *host) open(cfg network.Config) (n *network.Network, err error) {
	err = h.Do(h.Lab.Host(), func() (err error) {
		n, err = network.New(h.t.Context(), cfg, slog.New(h.log))
		return err
	})
	return n, err
}

// setup gives a new dyno the slot; its $PORT is 3000.
func (h *host) setup(slot int) (string, network.Attachment) {
	h.t.Helper()
	id := uuid.NewString()
	a, err := h.Setup(h.t.Context(), network.Request{ID: id, Slot: slot, Port: 3000})
	if err != nil {
		h.t.Fatal(err)
	}
	return id, a
}

func (h *host) teardown(id string) {
	h.t.Helper()
	if err := h.Teardown(context.WithoutCancel(h.t.Context()), id); err != nil {
		h.t.Fatal(err)
	}
}

// serve answers every connection to addr in ns with the address it comes from,
// and then with whatever it is sent.
func (h *host) serve(ns, addr string) {
	h.t.Helper()
	l := h.listen(ns, addr)
	ctx, stop := context.WithCancel(context.WithoutCancel(h.t.Context()))
	var served sync.WaitGroup
	served.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			served.Go(func() { echo(ctx, conn) })
		}
	})
	h.t.Cleanup(func() {
		stop()
		_ = l.Close()
		served.Wait()
	})
}

func (h *host) listen(ns, addr string) (l net.Listener) {
	h.t.Helper()
	err := h.Do(ns, func() (err error) {
		l, err = net.Listen("tcp", addr)
		return err
	})
	if err != nil {
		h.t.Fatal(err)
	}
	return l
}

func echo(ctx context.Context, conn net.Conn) {
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	defer conn.Close()
	peer := conn.RemoteAddr().(*net.TCPAddr)
	if _, err := fmt.Fprintln(conn, peer.IP); err == nil {
		_, _ = io.Copy(conn, conn)
	}
}

// dial connects from ns, and returns the address that the other side saw.
func (h *host) dial(ns, addr string) (conn net.Conn, seen string, err error) {
	return h.dialWithin(10*time.Second, ns, addr)
}

// dialWithin gives up after a time. It connects from the local address if there is one.
func (h *host) dialWithin(limit time.Duration, ns, addr string, local ...string) (conn net.Conn, seen string, err error) {
	d := net.Dialer{Timeout: limit}
	for _, l := range local {
		d.LocalAddr = &net.TCPAddr{IP: net.ParseIP(l)}
	}
	err = h.Do(ns, func() (err error) {
		conn, err = d.Dial("tcp", addr)
		return err
	})
	if err != nil {
		return nil, "", err
	}
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := fmt.Fscanln(conn, &seen); err != nil {
		return nil, "", errors.Join(err, conn.Close())
	}
	return conn, seen, nil
}

// reaches fails the test unless a connection comes about, and returns the
// address that the other side saw.
func (h *host) reaches(ns, addr string) string {
	h.t.Helper()
	conn, seen, err := h.dial(ns, addr)
	if err != nil {
		h.t.Fatalf("cannot reach %s: %v", addr, err)
	}
	_ = conn.Close()
	return seen
}

// cannotReach fails the test if a connection comes about.
func (h *host) cannotReach(ns, addr string, local ...string) {
	h.t.Helper()
	conn, _, err := h.dialWithin(patience, ns, addr, local...)
	if err == nil {
		_ = conn.Close()
		h.t.Errorf("can reach %s", addr)
	}
}

// still fails the test unless conn carries bytes both ways.
func (h *host) still(conn net.Conn) {
	h.t.Helper()
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	word := []byte("still there?")
	if _, err := conn.Write(word); err != nil {
		h.t.Fatal(err)
	}
	back := make([]byte, len(word))
	if _, err := io.ReadFull(conn, back); err != nil || !bytes.Equal(back, word) {
		h.t.Fatalf("connection broke: %q, %v", back, err)
	}
}

// run runs a command in ns and returns its output.
func (h *host) run(ns string, argv ...string) string {
	h.t.Helper()
	out, err := h.Command(ns, argv...).CombinedOutput()
	if err != nil {
		h.t.Fatalf("%v: %v\n%s", argv, err, out)
	}
	return string(out)
}

func join(addr netip.Addr, port int) string {
	return net.JoinHostPort(addr.String(), strconv.Itoa(port))
}

func onHost(port uint16) string {
	return net.JoinHostPort(lab.HostAddress, strconv.Itoa(int(port)))
}

func outside(port int) string { return net.JoinHostPort(lab.OutsideAddress, strconv.Itoa(port)) }
