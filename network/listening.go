package network

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// Listening says whether anything in the dyno's namespace listens on a TCP
// port, by IPv4 or IPv6, on whatever address. It fails with errdefs.ErrNotFound
// if the dyno has no namespace.
func (n *Network) Listening(ctx context.Context, id string, port uint16) (bool, error) {
	if err := ctx.Err(); err != nil {
		return false, err
	}
	if !validID(id) {
		return false, fmt.Errorf("dyno id %q: %w", id, errdefs.ErrInvalidArgument)
	}
	path := nsPath(n.cfg.dir(id))
	if bound, err := isMount(path, unix.NSFS_MAGIC); !bound {
		return false, errors.Join(err, fmt.Errorf("network namespace of dyno: %w", errdefs.ErrNotFound))
	}
	ns, err := netns.GetFromPath(path)
	if err != nil {
		return false, fmt.Errorf("open network namespace: %w", err)
	}
	var found bool
	err = within(ns, func() (err error) {
		found, err = listens(port)
		return err
	})
	return found, errors.Join(err, ns.Close())
}

// listens looks at the sockets of the calling thread's namespace.
func listens(port uint16) (bool, error) {
	for _, table := range []string{"/proc/thread-self/net/tcp", "/proc/thread-self/net/tcp6"} {
		f, err := os.Open(table)
		if errors.Is(err, fs.ErrNotExist) {
			continue // a kernel without IPv6
		}
		if err != nil {
			return false, fmt.Errorf("open socket table: %w", err)
		}
		found, err := hasListener(f, port)
		if err := errors.Join(err, f.Close()); found || err != nil {
			return found, err
		}
	}
	return false, nil
}

// listenState is TCP_LISTEN as the socket table prints it.
const listenState = "0A"

// hasListener reads a table of the form "sl local:port remote:port state …". The
// kernel prints listening sockets first, so it need not read the others, of
// which a busy dyno has thousands.
func hasListener(table io.Reader, port uint16) (bool, error) {
	lines := bufio.NewScanner(table)
	lines.Scan() // headings
	want := fmt.Sprintf(":%04X", port)
	for lines.Scan() {
		f := strings.Fields(lines.Text())
		if len(f) < 4 || f[3] != listenState {
			break
		}
		if strings.HasSuffix(f[1], want) {
			return true, nil
		}
	}
	if err := lines.Err(); err != nil {
		return false, fmt.Errorf("read socket table: %w", err)
	}
	return false, nil
}
