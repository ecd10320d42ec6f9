package rendezvous_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/pem"
	"io"
	"net"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/dynod/dynod/agent/rendezvous"
)

// server is a rendezvous server on loopback and a file with its authority.
func server(t *testing.T) (address, ca string, clients <-chan net.Conn) {
	t.Helper()
	h := httptest.NewTLSServer(nil) // for its certificate, good for 127.0.0.1
	t.Cleanup(h.Close)
	ca = filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: h.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	lis, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: h.TLS.Certificates})
	if err != nil {
		t.Fatal(err)
	}
	accepted := make(chan net.Conn, 1)
	go func() {
		for {
			conn, err := lis.Accept()
			if err != nil {
				return
			}
			accepted <- conn
		}
	}()
	t.Cleanup(func() { _ = lis.Close() })
	return lis.Addr().String(), ca, accepted
}

func dial(t *testing.T, ca, url string) (io.ReadWriteCloser, error) {
	t.Helper()
	d, err := rendezvous.New(ca)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	return d.Dial(ctx, url)
}

func TestSecretThenBytes(t *testing.T) {
	address, ca, clients := server(t)
	told := make(chan string, 1)
	go func() {
		conn := <-clients
		line, _ := bufio.NewReader(conn).ReadString('\n')
		told <- line
		_, _ = conn.Write([]byte("hello"))
		_ = conn.Close()
	}()
	conn, err := dial(t, ca, "rendezvous://"+address+"/the-secret")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if got := <-told; got != "the-secret\r\n" {
		t.Errorf("got %q", got)
	}
	if got, err := io.ReadAll(conn); string(got) != "hello" || err != nil {
		t.Errorf("got %q %v", got, err)
	}
}

func TestServersThatAreNotTrusted(t *testing.T) {
	address, _, clients := server(t)
	go func() {
		conn := <-clients
		_ = conn.(*tls.Conn).Handshake()
		_ = conn.Close()
	}()
	if _, err := dial(t, "", "rendezvous://"+address+"/hidden"); err == nil || !strings.Contains(err.Error(), "certificate") || strings.Contains(err.Error(), "hidden") {
		t.Errorf("got %v", err)
	}
}

func TestAddressesThatAreRefused(t *testing.T) {
	for _, host := range []string{"169.254.169.254", "0.0.0.0", "224.0.0.1", "[fe80::1%25lo]", "[::ffff:169.254.169.254]", "[fd00:ec2::254]"} {
		if _, err := dial(t, "", "rendezvous://"+host+":80/hidden"); err == nil || !strings.Contains(err.Error(), "not an address for clients") || strings.Contains(err.Error(), "hidden") {
			t.Errorf("%s: got %v", host, err)
		}
	}
}

func TestAuthoritiesAreChecked(t *testing.T) {
	empty := filepath.Join(t.TempDir(), "ca.pem")
	if _, err := rendezvous.New(empty); err == nil {
		t.Error("a file that is missing was accepted")
	}
	if err := os.WriteFile(empty, []byte("nothing"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := rendezvous.New(empty); err == nil {
		t.Error("a file without certificates was accepted")
	}
}
