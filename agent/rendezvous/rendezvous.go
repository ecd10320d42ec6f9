// Package rendezvous connects to the client of an attached dyno that waits at a server, as Heroku's do: TLS, the URL's
// secret and a line end, then the client's bytes both ways. It never connects to an address where clouds serve
// credentials, and its errors never hold the secret.
package rendezvous

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"syscall"

	"github.com/containerd/errdefs"
)

// Dialer connects. Its methods may be called from any goroutine.
type Dialer struct{ ca string }

// New is a dialer that trusts the system's authorities, and those of a PEM file where ca names one. It is read again
// for each connection.
func New(ca string) (*Dialer, error) {
	d := &Dialer{ca}
	_, err := d.roots()
	return d, err
}

// Dial connects to rendezvous://host:port/secret and shows the secret; ctx bounds that. Reads end with the client.
func (d *Dialer) Dial(ctx context.Context, raw string) (io.ReadWriteCloser, error) {
	u, err := url.Parse(raw)
	if err != nil || u.Scheme != "rendezvous" {
		return nil, fmt.Errorf("parse rendezvous URL: %w", errdefs.ErrInvalidArgument)
	}
	roots, err := d.roots()
	if err != nil {
		return nil, err
	}
	dialer := tls.Dialer{
		NetDialer: &net.Dialer{Control: refuse},
		Config:    &tls.Config{RootCAs: roots, ServerName: u.Hostname(), MinVersion: tls.VersionTLS12},
	}
	conn, err := dialer.DialContext(ctx, "tcp", u.Host)
	if err != nil {
		return nil, fmt.Errorf("connect to rendezvous: %w", err)
	}
	if err := show(ctx, conn, strings.TrimPrefix(u.Path, "/")); err != nil {
		_ = conn.Close()
		return nil, err
	}
	return conn, nil
}

// show writes the secret.
func show(ctx context.Context, conn net.Conn, secret string) error {
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	_, err := io.WriteString(conn, secret+"\r\n")
	if !stop() {
		err = ctx.Err()
	}
	if err != nil {
		return fmt.Errorf("write to rendezvous: %w", err)
	}
	return nil
}

// roots are the authorities to trust; nil: the system's alone.
func (d *Dialer) roots() (*x509.CertPool, error) {
	if d.ca == "" {
		return nil, nil //nolint:nilnil // crypto/tls says it so
	}
	data, err := os.ReadFile(d.ca)
	if err != nil {
		return nil, fmt.Errorf("read authorities of rendezvous servers: %w", err)
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool()
	}
	if !pool.AppendCertsFromPEM(data) {
		return nil, fmt.Errorf("read authorities of rendezvous servers: %w: no certificate in %s", errdefs.ErrInvalidArgument, d.ca)
	}
	return pool, nil
}

// credentials is where a cloud serves them that is not link-local.
var credentials = netip.MustParseAddr("fd00:ec2::254")

// refuse looks at the address that a name resolved to.
func refuse(_, address string, _ syscall.RawConn) error {
	ap, err := netip.ParseAddrPort(address)
	if err != nil {
		return fmt.Errorf("parse address: %w", err)
	}
	if ip := ap.Addr().Unmap(); ip.IsLinkLocalUnicast() || ip == credentials || ip.IsUnspecified() || ip.IsMulticast() {
		return fmt.Errorf("connect to %s: %w: not an address for clients", ip, errdefs.ErrPermissionDenied)
	}
	return nil
}
