package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"
)

func certsCommand() *cobra.Command {
	var hosts []string
	var lifetime time.Duration
	cmd := &cobra.Command{
		Use:   "certs DIR",
		Short: "Make throw-away certificates for demos and tests; not for production",
		Long: `Certs makes a CA and two certificates of it, named "agent" and "plane", each good
for both ends of a connection and for localhost: ca.pem, agent.pem,
agent-key.pem, plane.pem, plane-key.pem. It overwrites nothing.

Not for production: the names say nothing about a machine, and the CA's own key
is thrown away, so that no certificate can be added, renewed or revoked.`,
		Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			if err := makeCerts(args[0], hosts, lifetime); err != nil {
				return fmt.Errorf("make certificates: %w", err)
			}
			return nil
		},
	}
	cmd.Flags().StringArrayVar(&hosts, "host", nil, "one more DNS name or IP address for both; may be repeated")
	cmd.Flags().DurationVar(&lifetime, "lifetime", 30*24*time.Hour, "how long they are good")
	return cmd
}

// authority signs the certificates of one run.
type authority struct {
	dir      string
	notAfter time.Time
	cert     *x509.Certificate
	key      *ecdsa.PrivateKey
}

func makeCerts(dir string, hosts []string, lifetime time.Duration) error {
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return err
	}
	a := authority{dir: dir, notAfter: time.Now().Add(lifetime)}
	if err := a.begin(); err != nil {
		return err
	}
	for _, name := range []string{"agent", "plane"} {
		if err := a.issue(name, hosts); err != nil {
			return err
		}
	}
	return nil
}

// begin makes the CA itself.
func (a *authority) begin() error {
	var err error
	if a.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		return err
	}
	a.cert = &x509.Certificate{
		Subject:               pkix.Name{CommonName: "dynod throw-away CA", Organization: []string{"not for production"}},
		IsCA:                  true,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageCertSign,
	}
	der, err := a.sign(a.cert, a.key)
	if err != nil {
		return err
	}
	if a.cert, err = x509.ParseCertificate(der); err != nil {
		return err
	}
	return a.write("ca.pem", 0o644, "CERTIFICATE", der)
}

// issue makes the certificate of name. Its first DNS name is the one that allow-lists know it by.
func (a *authority) issue(name string, hosts []string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	cert := &x509.Certificate{
		Subject:     pkix.Name{CommonName: name, Organization: []string{"not for production"}},
		DNSNames:    []string{name, "localhost"},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback},
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	for _, h := range hosts {
		if ip := net.ParseIP(h); ip != nil {
			cert.IPAddresses = append(cert.IPAddresses, ip)
		} else {
			cert.DNSNames = append(cert.DNSNames, h)
		}
	}
	der, err := a.sign(cert, key)
	if err != nil {
		return err
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	return errors.Join(
		a.write(name+".pem", 0o644, "CERTIFICATE", der),
		a.write(name+"-key.pem", 0o600, "PRIVATE KEY", keyDER))
}

func (a *authority) sign(cert *x509.Certificate, key *ecdsa.PrivateKey) ([]byte, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, err
	}
	cert.SerialNumber = serial
	cert.NotBefore, cert.NotAfter = time.Now().Add(-5*time.Minute), a.notAfter // the peer's clock may be behind
	return x509.CreateCertificate(rand.Reader, cert, a.cert, &key.PublicKey, a.key)
}

func (a *authority) write(name string, mode os.FileMode, kind string, der []byte) error {
	file, err := os.OpenFile(filepath.Join(a.dir, name), os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	if kind == "CERTIFICATE" {
		_, err = io.WriteString(file, "Throw-away certificate of a demo or test; not for production.\n")
	}
	return errors.Join(err, pem.Encode(file, &pem.Block{Type: kind, Bytes: der}), file.Close())
}
