package transfer

import (
	"fmt"
	"net"
	"net/netip"
	"syscall"
	"time"

	"github.com/containerd/errdefs"
)

// metadata6 is where AWS serves credentials by IPv6: no link-local address.
var metadata6 = netip.MustParseAddr("fd00:ec2::254")

// Dialer connects to no address where clouds serve credentials, whatever a name resolves to and a server redirects to:
// PermissionDenied.
func Dialer() *net.Dialer {
	return &net.Dialer{Timeout: 30 * time.Second, KeepAlive: 30 * time.Second, Control: refuse}
}

func refuse(_, address string, _ syscall.RawConn) error {
	ap, err := netip.ParseAddrPort(address)
	if err != nil {
		return fmt.Errorf("parse address: %w", err)
	}
	if ip := ap.Addr().Unmap(); ip.IsLinkLocalUnicast() || ip == metadata6 || ip.IsUnspecified() || ip.IsMulticast() {
		return fmt.Errorf("connect to %s: %w: not an address for artifacts", ip, errdefs.ErrPermissionDenied)
	}
	return nil
}
