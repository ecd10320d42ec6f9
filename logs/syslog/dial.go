package syslog

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/netip"
	"os"
	"syscall"
	"time"

	"github.com/containerd/errdefs"
)

// dialTimeout is how long a receiver has to take a connection, and again for the TLS handshake.
const dialTimeout = 10 * time.Second

// Dialer connects to receivers: by TLS, whose names are checked, and never to an address where clouds serve credentials,
// whatever a name resolves to.
type Dialer struct{ roots *x509.CertPool }

// NewDialer trusts the system's authorities, and those in caFile (PEM) if that is not empty.
func NewDialer(caFile string) (Dialer, error) {
	if caFile == "" {
		return Dialer{}, nil
	}
	text, err := os.ReadFile(caFile)
	if err != nil {
		return Dialer{}, fmt.Errorf("read authorities of log receivers: %w", err)
	}
	roots, err := x509.SystemCertPool()
	if err != nil {
		roots = x509.NewCertPool() // a host without any
	}
	if !roots.AppendCertsFromPEM(text) {
		return Dialer{}, fmt.Errorf("read authorities of log receivers: no certificate in %s: %w", caFile, errdefs.ErrInvalidArgument)
	}
	return Dialer{roots}, nil
}

// TCP makes the connections under TLS.
func (d Dialer) TCP() *net.Dialer {
	return &net.Dialer{Timeout: dialTimeout, Control: refuseLinkLocal, KeepAlive: 15 * time.Second}
}

// TLS is what a connection to the server of that name must satisfy; empty: the name that is dialled.
func (d Dialer) TLS(serverName string) *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: d.roots, ServerName: serverName}
}

// metadata6 is where AWS serves credentials by IPv6: no link-local address.
var metadata6 = netip.MustParseAddr("fd00:ec2::254")

func refuseLinkLocal(_, address string, _ syscall.RawConn) error {
	ap, err := netip.ParseAddrPort(address)
	if err != nil {
		return fmt.Errorf("parse address: %w", err)
	}
	if ip := ap.Addr().Unmap(); ip.IsLinkLocalUnicast() || ip == metadata6 || ip.IsUnspecified() || ip.IsMulticast() {
		return fmt.Errorf("connect to %s: no address for log receivers: %w", ip, errdefs.ErrPermissionDenied)
	}
	return nil
}
