package transport_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"github.com/dynod/dynod/agent/rpc/transport"
)

// serve runs a health service behind creds and gives the callers' identities as the server saw them.
func serve(t *testing.T, listener net.Listener, creds credentials.TransportCredentials) <-chan string {
	t.Helper()
	callers := make(chan string, 16)
	note := func(ctx context.Context, req any, _ *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (any, error) {
		callers <- transport.Identity(ctx)
		return handle(ctx, req)
	}
	options := append(transport.ServeOptions(), grpc.Creds(creds), grpc.UnaryInterceptor(note), grpc.WaitForHandlers(true))
	server := grpc.NewServer(options...)
	healthpb.RegisterHealthServer(server, health.NewServer())
	done := make(chan error, 1)
	go func() { done <- server.Serve(listener) }()
	t.Cleanup(func() {
		server.Stop()
		if err := <-done; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	return callers
}

// handshakes are credentials that tell how each handshake ended. What a refused client sees is up to the race between
// its first write and the server's alert.
type handshakes struct {
	credentials.TransportCredentials
	results chan error
}

func (h handshakes) ServerHandshake(conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	conn, info, err := h.TransportCredentials.ServerHandshake(conn)
	h.results <- err
	return conn, info, err
}

func (h handshakes) Clone() credentials.TransportCredentials { return h }

// server is what a TLS server of the tests saw.
type server struct {
	address    string
	callers    <-chan string
	handshakes <-chan error
}

func serveTLS(t *testing.T, files transport.TLSFiles, allowed ...string) server {
	t.Helper()
	config, err := transport.ServerTLS(files, allowed)
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	creds := handshakes{credentials.NewTLS(config), make(chan error, 64)}
	return server{listener.Addr().String(), serve(t, listener, creds), creds.results}
}

func call(t *testing.T, target string, config *tls.Config) error {
	t.Helper()
	conn, err := transport.Dial(target, transport.DialOptions{TLS: config, UserAgent: "test"})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	_, err = healthpb.NewHealthClient(conn).Check(ctx, &healthpb.HealthCheckRequest{})
	return err
}

func clientTLS(t *testing.T, files transport.TLSFiles, serverName string) *tls.Config {
	t.Helper()
	config, err := transport.ClientTLS(files, serverName)
	if err != nil {
		t.Fatal(err)
	}
	return config
}

func wantRefused(t *testing.T, err error, part string) {
	t.Helper()
	if status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), part) {
		t.Errorf("got %v, want Unavailable with %q", err, part)
	}
}

// wantNotAdmitted calls s and wants the server to have ended the handshake for that reason.
func wantNotAdmitted(t *testing.T, s server, config *tls.Config, reason string) {
	t.Helper()
	wantRefused(t, call(t, s.address, config), "")
	if err := <-s.handshakes; err == nil || !strings.Contains(err.Error(), reason) {
		t.Errorf("got handshake error %v, want %q in it", err, reason)
	}
}

func TestTLSAdmitsByName(t *testing.T) {
	ca := newAuthority(t)
	spiffe := &url.URL{Scheme: "spiffe", Host: "here", Path: "/plane"}
	s := serveTLS(t, ca.named("agent"), "plane", "spiffe://here/plane", "by common name")
	clients := map[string]*x509.Certificate{
		"tls:plane":               {DNSNames: []string{"plane", "other"}},
		"tls:spiffe://here/plane": {DNSNames: []string{"other"}, URIs: []*url.URL{spiffe}},
		"tls:by common name":      {},
	}
	clients["tls:by common name"].Subject.CommonName = "by common name"
	for want, template := range clients {
		files := ca.issue(t.TempDir(), template)
		if err := call(t, s.address, clientTLS(t, files, "agent")); err != nil {
			t.Errorf("%s: %v", want, err)
			continue
		}
		if got := <-s.callers; got != want {
			t.Errorf("got caller %q, want %q", got, want)
		}
	}
}

func TestTLSRefusesClients(t *testing.T) {
	ca, otherCA := newAuthority(t), newAuthority(t)
	s := serveTLS(t, ca.named("agent"), "plane")

	yesterday := time.Now().Add(-24 * time.Hour)
	expired := ca.issue(t.TempDir(), &x509.Certificate{
		DNSNames: []string{"plane"}, NotBefore: yesterday.Add(-time.Hour), NotAfter: yesterday,
	})
	foreign := otherCA.named("plane")
	foreign.CA = ca.named("unused").CA // it trusts the server; the server does not trust it
	secondName := ca.issue(t.TempDir(), &x509.Certificate{DNSNames: []string{"stranger", "plane"}})
	cases := map[string]struct {
		files  transport.TLSFiles
		reason string
	}{
		"not on the list":            {ca.named("stranger"), "not on the allow-list"},
		"only its second name is on": {secondName, "not on the allow-list"},
		"expired":                    {expired, "has expired"},
		"wrong CA":                   {foreign, "unknown authority"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) { wantNotAdmitted(t, s, clientTLS(t, c.files, "agent"), c.reason) })
	}
	t.Run("no certificate", func(t *testing.T) {
		config := clientTLS(t, ca.named("plane"), "agent")
		config.GetClientCertificate = nil
		wantNotAdmitted(t, s, config, "didn't provide a certificate")
	})
	t.Run("TLS 1.2", func(t *testing.T) {
		config := clientTLS(t, ca.named("plane"), "agent")
		config.MinVersion, config.MaxVersion = tls.VersionTLS12, tls.VersionTLS12
		wantNotAdmitted(t, s, config, "unsupported versions")
	})
}

func TestTLSEmptyListAdmitsNobody(t *testing.T) {
	ca := newAuthority(t)
	s := serveTLS(t, ca.named("agent"))
	wantNotAdmitted(t, s, clientTLS(t, ca.named("agent"), "agent"), "not on the allow-list")
	nameless := ca.issue(t.TempDir(), &x509.Certificate{})
	s = serveTLS(t, ca.named("agent"), "")
	wantNotAdmitted(t, s, clientTLS(t, nameless, "agent"), "not on the allow-list")
}

func TestTLSClientChecksServer(t *testing.T) {
	ca, otherCA := newAuthority(t), newAuthority(t)
	address := serveTLS(t, ca.named("agent"), "plane").address
	plane := ca.named("plane")
	wantRefused(t, call(t, address, clientTLS(t, plane, "other")), "not other")
	// The certificate holds 127.0.0.1 too.
	if err := call(t, address, clientTLS(t, plane, address)); err != nil {
		t.Errorf("by address: %v", err)
	}
	wantRefused(t, call(t, address, clientTLS(t, plane, "127.0.0.2")), "not 127.0.0.2")
	plane.CA = otherCA.named("unused").CA
	wantRefused(t, call(t, address, clientTLS(t, plane, "agent")), "unknown authority")
}

func TestTLSReload(t *testing.T) {
	oldCA, newCA := newAuthority(t), newAuthority(t)
	serverDir, clientDir := t.TempDir(), t.TempDir()
	template := func(name string) *x509.Certificate { return &x509.Certificate{DNSNames: []string{name}} }
	files := oldCA.issue(serverDir, template("agent"))
	address := serveTLS(t, files, "plane").address
	config := clientTLS(t, oldCA.issue(clientDir, template("plane")), "agent")
	if err := call(t, address, config); err != nil {
		t.Fatalf("old pair: %v", err)
	}

	newCA.issue(serverDir, template("agent"))
	wantRefused(t, call(t, address, config), "unknown authority") // the server is new, the client still old
	newCA.issue(clientDir, template("plane"))
	if err := call(t, address, config); err != nil {
		t.Fatalf("new pair on both sides: %v", err)
	}

	for _, name := range []string{files.Key, files.CA} {
		good, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte("broken"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := call(t, address, config); err != nil {
			t.Errorf("with %s broken: %v, want the old pair to stay in force", name, err)
		}
		if err := os.Remove(name); err != nil {
			t.Fatal(err)
		}
		if err := call(t, address, config); err != nil {
			t.Errorf("with %s missing: %v, want the old pair to stay in force", name, err)
		}
		if err := os.WriteFile(name, good, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func TestTLSFilesErrors(t *testing.T) {
	ca := newAuthority(t)
	good := ca.named("agent")
	other := ca.named("other")
	cases := map[string]struct {
		files transport.TLSFiles
		parts []string
	}{
		"no certificate":     {transport.TLSFiles{Cert: "/nowhere/c.pem", Key: good.Key, CA: good.CA}, []string{"/nowhere/c.pem", "no such file"}},
		"key of another":     {transport.TLSFiles{Cert: good.Cert, Key: other.Key, CA: good.CA}, []string{good.Cert, other.Key, "does not match"}},
		"no CA":              {transport.TLSFiles{Cert: good.Cert, Key: good.Key, CA: "/nowhere/ca.pem"}, []string{"/nowhere/ca.pem", "no such file"}},
		"CA without content": {transport.TLSFiles{Cert: good.Cert, Key: good.Key, CA: good.Key}, []string{good.Key, "no certificate in it"}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			_, serverErr := transport.ServerTLS(c.files, nil)
			_, clientErr := transport.ClientTLS(c.files, "agent")
			for _, part := range c.parts {
				if serverErr == nil || !strings.Contains(serverErr.Error(), part) {
					t.Errorf("ServerTLS: got %v, want %q in it", serverErr, part)
				}
				if clientErr == nil || !strings.Contains(clientErr.Error(), part) {
					t.Errorf("ClientTLS: got %v, want %q in it", clientErr, part)
				}
			}
		})
	}
}

func TestTLSClientNeedsServerName(t *testing.T) {
	if _, err := transport.ClientTLS(newAuthority(t).named("plane"), ""); err == nil {
		t.Error("got no error without a server name")
	}
}
