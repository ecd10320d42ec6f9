package main_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"github.com/dynod/dynod/agent/rpc/transport"
	dynodv1 "github.com/dynod/dynod/proto/dynod/v1"
)

// selfSigned is a certificate for both ends that is its own CA.
func selfSigned(t *testing.T, name string) transport.TLSFiles {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	cert := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{name}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, cert, cert, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	text = append(text, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})...)
	file := filepath.Join(t.TempDir(), "both.pem")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return transport.TLSFiles{Cert: file, Key: file, CA: file}
}

func TestRemote(t *testing.T) {
	files := selfSigned(t, "host1")
	config, err := transport.ServerTLS(files, []string{"host1"})
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	a := newAgent(t)
	server := grpc.NewServer(append(transport.ServeOptions(), grpc.Creds(credentials.NewTLS(config)))...)
	dynodv1.RegisterAgentServiceServer(server, a)
	go server.Serve(listener) //nolint:errcheck // the calls tell
	t.Cleanup(server.Stop)

	args := []string{"ps", "-o", "json", "--address", listener.Addr().String(), "--cert", files.Cert, "--key", files.Key, "--ca", files.CA}
	if got := run(t, a, "", append(args, "--server-name", "host1")...); got.code != 0 || !strings.Contains(got.out, webID) {
		t.Errorf("got %+v", got)
	}
	// The dialled address counts where no name is given, and is not in the certificate.
	got := run(t, a, "", args...)
	if got.code != 3 || !strings.Contains(got.errOut, "cannot validate certificate for 127.0.0.1") || strings.Contains(got.errOut, "desc =") {
		t.Errorf("got %+v", got)
	}
}
