package transport

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
)

// TLSFiles names the PEM files of one side of a connection. All three are required. They are read again when they
// change on disk, so that a renewed certificate needs no restart.
type TLSFiles struct {
	Cert string // certificate, followed by its intermediates
	Key  string // its private key
	CA   string // certificates that the other side's must descend from
}

// ServerTLS gives the settings of a listener: TLS 1.3 only, and only for clients with a certificate from files.CA whose
// name (see CertificateName) is in allowed. An empty list admits nobody.
//
// A handshake that began with the old files ends with them. New files that cannot be used are logged, and the old ones
// stay in force.
func ServerTLS(files TLSFiles, allowed []string) (*tls.Config, error) {
	r, err := newReloader(files)
	if err != nil {
		return nil, err
	}
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		NextProtos: []string{"h2"},
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
			return serverConfig(r.current(), allowed), nil
		},
	}, nil
}

func serverConfig(m material, allowed []string) *tls.Config {
	return &tls.Config{
		MinVersion:   tls.VersionTLS13,
		NextProtos:   []string{"h2"},
		Certificates: []tls.Certificate{m.pair},
		ClientCAs:    m.roots,
		ClientAuth:   tls.RequireAndVerifyClientCert,
		// Connections live long; a ticket would only let a client in on an older verdict.
		SessionTicketsDisabled: true,
		VerifyConnection: func(cs tls.ConnectionState) error {
			return checkAllowed(cs, allowed)
		},
	}
}

func checkAllowed(cs tls.ConnectionState, allowed []string) error {
	name := CertificateName(cs.PeerCertificates[0])
	if name != "" && slices.Contains(allowed, name) {
		return nil
	}
	// The client sees no more than an alert, and gRPC drops the error: this line is the only trace.
	slog.Warn("client refused: its certificate's name is not on the allow-list", "name", name)
	return fmt.Errorf("admit client %q: not on the allow-list", name)
}

// ClientTLS gives the settings of a dialled connection: TLS 1.3 only, with a client certificate, to a server whose
// certificate comes from files.CA and holds serverName, a DNS name or an IP address. Of a "host:port" the host counts,
// so that the dialled address will do where no other name is configured.
func ClientTLS(files TLSFiles, serverName string) (*tls.Config, error) {
	if host, _, err := net.SplitHostPort(serverName); err == nil {
		serverName = host
	}
	if serverName == "" {
		return nil, errors.New("check server certificate: no server name to check it against")
	}
	r, err := newReloader(files)
	if err != nil {
		return nil, err
	}
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		NextProtos: []string{"h2"},
		ServerName: serverName,
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			pair := r.current().pair
			return &pair, nil
		},
		// RootCAs cannot be exchanged in a tls.Config in use. verifyServer does the whole check that this turns off,
		// against the CA file as it is now.
		InsecureSkipVerify: true,
		VerifyConnection: func(cs tls.ConnectionState) error {
			return verifyServer(cs.PeerCertificates, serverName, r.current().roots)
		},
	}, nil
}

func verifyServer(chain []*x509.Certificate, name string, roots *x509.CertPool) error {
	options := x509.VerifyOptions{Roots: roots, DNSName: name, Intermediates: x509.NewCertPool()}
	for _, c := range chain[1:] {
		options.Intermediates.AddCert(c)
	}
	if _, err := chain[0].Verify(options); err != nil {
		return fmt.Errorf("verify server certificate: %w", err)
	}
	return nil
}

// CertificateName is the one name a certificate stands for here: its first URI, else its first DNS name, else its
// common name. One name and not a set, so that the allow-list, the audit line and later roles speak of the same thing.
func CertificateName(c *x509.Certificate) string {
	switch {
	case len(c.URIs) > 0:
		return c.URIs[0].String()
	case len(c.DNSNames) > 0:
		return c.DNSNames[0]
	default:
		return c.Subject.CommonName
	}
}
