package lab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	goruntime "runtime"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// The wire between the lab's host and its outside. The host's default route leads there; the outside knows no way
// to anything behind the host, as on the internet.
const (
	HostLink       = "uplink"
	HostAddress    = "10.99.0.1"
	OutsideLink    = "wire"
	OutsideAddress = "10.99.0.2"
)

// Host is the path of the network namespace in which the agent of the lab belongs. Its forwarding switch is left
// as the kernel sets it.
func (l *Lab) Host() string { return filepath.Join(l.Run(), "ns", "host") }

// Outside is the path of the network namespace that stands for the rest of the world.
func (l *Lab) Outside() string { return filepath.Join(l.Run(), "ns", "outside") }

// buildNetwork makes both namespaces and the wire between them.
func (l *Lab) buildNetwork() error {
	if err := os.MkdirAll(filepath.Dir(l.Host()), 0o711); err != nil {
		return err
	}
	for _, path := range []string{l.Host(), l.Outside()} {
		if err := pinNewNetns(path); err != nil {
			return fmt.Errorf("make network namespace: %w", err)
		}
	}
	return l.layWire()
}

// pinNewNetns makes a network namespace that lives as long as the mount at path.
func pinNewNetns(path string) error {
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		return err
	}
	return onThread(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return err
		}
		lo, err := netlink.LinkByName("lo")
		if err != nil {
			return err
		}
		if err := netlink.LinkSetUp(lo); err != nil {
			return err
		}
		return unix.Mount("/proc/thread-self/ns/net", path, "", unix.MS_BIND, "")
	})
}

func (l *Lab) layWire() error {
	outside, err := netns.GetFromPath(l.Outside())
	if err != nil {
		return fmt.Errorf("open outside namespace: %w", err)
	}
	defer outside.Close()
	err = l.Do(l.Host(), func() error {
		attrs := netlink.NewLinkAttrs()
		attrs.Name = HostLink
		veth := &netlink.Veth{LinkAttrs: attrs, PeerName: OutsideLink, PeerNamespace: netlink.NsFd(outside)}
		if err := netlink.LinkAdd(veth); err != nil {
			return fmt.Errorf("add wire: %w", err)
		}
		if err := address(HostLink, HostAddress); err != nil {
			return err
		}
		return netlink.RouteAdd(&netlink.Route{Gw: net.ParseIP(OutsideAddress)})
	})
	if err != nil {
		return fmt.Errorf("lay wire: %w", err)
	}
	return l.Do(l.Outside(), func() error { return address(OutsideLink, OutsideAddress) })
}

// address gives a link of the current namespace its address, of a /24, and brings it up.
func address(link, addr string) error {
	dev, err := netlink.LinkByName(link)
	if err != nil {
		return fmt.Errorf("find %s: %w", link, err)
	}
	cidr := &net.IPNet{IP: net.ParseIP(addr), Mask: net.CIDRMask(24, 32)}
	if err := netlink.AddrAdd(dev, &netlink.Addr{IPNet: cidr}); err != nil {
		return fmt.Errorf("address %s: %w", link, err)
	}
	return netlink.LinkSetUp(dev)
}

// Do runs f on a thread of its own inside the network namespace at path ns ("" = the machine's) and returns what
// it returns. Goroutines that f starts are not inside; sockets that it opens stay inside.
func (l *Lab) Do(ns string, f func() error) error {
	if ns == "" {
		return f()
	}
	handle, err := netns.GetFromPath(ns)
	if err != nil {
		return fmt.Errorf("open namespace %s: %w", ns, err)
	}
	defer handle.Close()
	return onThread(func() error {
		if err := netns.Set(handle); err != nil {
			return fmt.Errorf("enter namespace %s: %w", ns, err)
		}
		return f()
	})
}

// Client asks from inside the network namespace at path ns. It keeps no connection for later.
func (l *Lab) Client(ns string) *http.Client {
	dial := func(ctx context.Context, network, addr string) (conn net.Conn, err error) {
		err = l.Do(ns, func() (err error) {
			var d net.Dialer
			conn, err = d.DialContext(ctx, network, addr)
			return err
		})
		return conn, err
	}
	return &http.Client{Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true}, Timeout: 10 * time.Second}
}

// onThread runs f on a thread that ends with it, so that what f changed about the thread ends too.
func onThread(f func() error) error {
	done := make(chan error, 1)
	go func() {
		goruntime.LockOSThread() // unlocked only on the main thread, which cannot end: another one is taken then
		err := errors.New("left its goroutine")
		defer func() { done <- err }()
		if unix.Gettid() == os.Getpid() {
			err = onThread(f)
			goruntime.UnlockOSThread()
			return
		}
		err = f()
	}()
	return <-done
}

// Command is a command inside the network namespace at path ns ("" = the machine's), in a session of its own so
// that a terminal's interrupt reaches only the one who closes the lab. Close kills it and all it has started;
// waiting for it stays with the caller.
func (l *Lab) Command(ns string, argv ...string) *exec.Cmd {
	if ns != "" {
		argv = append([]string{"nsenter", "--net=" + ns, "--"}, argv...)
	}
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Env = append(os.Environ(), envMark+"="+l.dir)
	cmd.SysProcAttr = &unix.SysProcAttr{Setsid: true}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.commands = append(l.commands, cmd)
	return cmd
}
