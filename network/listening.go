package network

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/containerd/errdefs"
	"github.com/vishvananda/netlink/nl"
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

// listens asks the kernel for the listening sockets of the calling thread's namespace. Its table under /proc has the
// others too: to print it the kernel walks through those of all namespaces, which takes milliseconds.
func listens(port uint16) (bool, error) {
	for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
		question := nl.NewNetlinkRequest(nl.SOCK_DIAG_BY_FAMILY, unix.NLM_F_DUMP)
		question.AddRawData(listeners(family, port))
		found, err := question.Execute(unix.NETLINK_INET_DIAG, nl.SOCK_DIAG_BY_FAMILY)
		if family == unix.AF_INET6 && errors.Is(err, unix.ENOENT) {
			continue // a kernel without IPv6
		}
		if err != nil {
			return false, fmt.Errorf("ask for listening sockets: %w", err)
		}
		if len(found) > 0 {
			return true, nil
		}
	}
	return false, nil
}

// sizeofDiagRequest is that of struct inet_diag_req_v2.
const sizeofDiagRequest = 56

// listeners is the question for the sockets that listen on a TCP port, as an inet_diag_req_v2: the family, the protocol, in
// bytes 4 to 7 a set of states, then a socket's addresses, of which only the port is set.
func listeners(family uint8, port uint16) []byte {
	request := make([]byte, sizeofDiagRequest)
	request[0], request[1] = family, unix.IPPROTO_TCP
	binary.NativeEndian.PutUint32(request[4:], 1<<unix.BPF_TCP_LISTEN)
	binary.BigEndian.PutUint16(request[8:], port)
	return request
}
