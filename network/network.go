// Package network gives every dyno a network of its own: a namespace, one veth
// pair with a /30 address, a way out through the host's address, and one host
// port that leads to the dyno's $PORT. What a dyno may reach is decided by one
// static nftables table (table.nft) and, inside the namespace, by routes.
//
// The kernel is the only memory: everything a dyno owns derives from its slot,
// and is found again by link alias, link group and the directory of its
// namespace. A new agent therefore takes over running dynos by calling New.
//
// The package never touches an object that it cannot prove to be its own, never
// starts processes in a dyno, and never chooses slots or ports.
package network

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	goruntime "runtime"
	"sync/atomic"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
	"golang.org/x/time/rate"
)

const (
	// callTimeout bounds one request to the kernel.
	callTimeout = 10 * time.Second
	// loadTimeout bounds one load of the table: the first after a boot brings modules from a disk that may be slow.
	loadTimeout = 30 * time.Second
)

// Network sets up and tears down the networks of dynos within one host network
// namespace: the one that the thread calling New was in. All methods may be
// called by many goroutines at once; calls for the same dyno or slot take turns.
// Close it when done; dynos stay connected.
type Network struct {
	cfg         Config
	log         *slog.Logger
	ns          netns.NsHandle               // the host's namespace
	host        *netlink.Handle              // sockets inside ns: links, addresses, connection tracking
	quick       *netlink.Handle              // another one, for what must not wait for the work on host
	settings    linkSettings                 // of the host's namespace
	others      atomic.Pointer[[]netip.Addr] // of the host, beside gateways; lately seen
	dynos       locks                        // by id; taken before slots
	slots       locks                        // by link name
	elements    elements
	loads       *rate.Limiter // of the table, by Run
	connections connections
	spaces      spaces
	spares      spares
	health      health
}

// New checks cfg (errdefs.ErrInvalidArgument), turns IPv4 forwarding on and
// loads the firewall table, in one transaction with the elements of all dynos
// that already live, so that their connections do not notice. It fails with
// errdefs.ErrFailedPrecondition if the addresses in cfg are used by a link that
// is not ours, or do not fit the dynos that already live.
func New(ctx context.Context, cfg Config, log *slog.Logger) (*Network, error) {
	cfg, err := cfg.complete()
	if err != nil {
		return nil, err
	}
	n := &Network{cfg: cfg, log: log, ns: netns.None(), loads: rate.NewLimiter(1, loadsAtOnce)}
	if err := n.open(); err != nil {
		return nil, errors.Join(err, n.Close())
	}
	if err := n.start(ctx); err != nil {
		return nil, errors.Join(err, n.Close())
	}
	return n, nil
}

// open takes hold of the caller's network namespace.
func (n *Network) open() error {
	goruntime.LockOSThread()
	defer goruntime.UnlockOSThread()
	var err error
	if n.ns, err = netns.Get(); err != nil {
		return fmt.Errorf("open host network namespace: %w", err)
	}
	if n.host, err = openHandle(unix.NETLINK_ROUTE, unix.NETLINK_NETFILTER); err != nil {
		return err
	}
	if n.quick, err = openHandle(unix.NETLINK_ROUTE); err != nil {
		return err
	}
	if n.settings, err = openLinkSettings(); err != nil {
		return err
	}
	if _, err := listens(0); err != nil { // no dyno would ever be seen up
		return fmt.Errorf("look whether the kernel has the module tcp_diag: %w", err)
	}
	n.elements.ns = n.ns
	n.connections = connections{host: n.host, walking: make(chan struct{}, 1)}
	if n.connections.count, err = openCount(); err != nil {
		return err
	}
	return nil
}

// openHandle opens netlink sockets in the calling thread's namespace.
func openHandle(families ...int) (*netlink.Handle, error) {
	h, err := netlink.NewHandle(families...)
	if err != nil {
		return nil, fmt.Errorf("open netlink sockets: %w", err)
	}
	if err := h.SetSocketTimeout(callTimeout); err != nil {
		h.Close()
		return nil, fmt.Errorf("set netlink timeout: %w", err)
	}
	return h, nil
}

// start makes the host ready for dynos.
func (n *Network) start(ctx context.Context) error {
	if err := os.MkdirAll(n.cfg.Dir, 0o711); err != nil {
		return fmt.Errorf("make namespace directory: %w", err)
	}
	if err := n.sweep(); err != nil {
		return err
	}
	if err := n.checkForeign(); err != nil {
		return err
	}
	if err := n.forward(); err != nil {
		return err
	}
	return n.load(ctx)
}

// Close gives back what the Network itself holds. It leaves dynos, their
// networks and the firewall table as they are.
func (n *Network) Close() error {
	err := errors.Join(n.elements.close(), n.settings.close(), n.connections.close())
	for _, h := range []*netlink.Handle{n.host, n.quick} {
		if h != nil {
			h.Close()
		}
	}
	if n.ns.IsOpen() {
		err = errors.Join(err, n.ns.Close())
	}
	return err
}
