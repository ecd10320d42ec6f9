package transport_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/dynod/dynod/agent/rpc/transport"
)

// childTarget makes the test binary a client: it calls that target once and exits 0 or says why not.
const childTarget = "TRANSPORT_TEST_CHILD_TARGET"

func TestMain(m *testing.M) {
	if target := os.Getenv(childTarget); target != "" {
		os.Exit(child(target))
	}
	os.Exit(m.Run())
}

func child(target string) int {
	conn, err := transport.Dial(target, transport.DialOptions{})
	if err == nil {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		_, err = healthpb.NewHealthClient(conn).Check(ctx, &healthpb.HealthCheckRequest{})
	}
	if err != nil {
		fmt.Print(err)
		return 1
	}
	return 0
}

// listenUnix makes a socket that every user may connect to, in a directory that holds the test binary too.
func listenUnix(t *testing.T) (listener net.Listener, dir string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "dynod-transport-") //nolint:usetesting // t.TempDir is closed to other users
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	socket := filepath.Join(dir, "s")
	if listener, err = net.Listen("unix", socket); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{dir, socket} {
		if err := os.Chmod(name, 0o777); err != nil {
			t.Fatal(err)
		}
	}
	return listener, dir
}

func TestPeerCredentials(t *testing.T) {
	listener, _ := listenUnix(t)
	callers := serve(t, listener, transport.PeerCredentials())
	if err := call(t, "unix://"+listener.Addr().String(), nil); err != nil {
		t.Fatal(err)
	}
	want := fmt.Sprintf("unix:uid=%d pid=%d", os.Geteuid(), os.Getpid())
	if got := <-callers; got != want {
		t.Errorf("got caller %q, want %q", got, want)
	}
}

func TestPeerCredentialsNotOnList(t *testing.T) {
	listener, _ := listenUnix(t)
	serve(t, listener, transport.PeerCredentials(uint32(os.Geteuid())+1))
	wantRefused(t, call(t, "unix://"+listener.Addr().String(), nil), "")
}

func TestPeerCredentialsOtherUser(t *testing.T) {
	if os.Geteuid() != 0 {
		if testing.Short() {
			t.Skip("needs root to become another user")
		}
		t.Fatal("needs root to become another user")
	}
	const nobody = 65534
	for allowed, want := range map[uint32]bool{nobody: true, 0: false} {
		listener, dir := listenUnix(t)
		callers := serve(t, listener, transport.PeerCredentials(allowed))
		out, err := runAs(t, dir, nobody, "unix://"+listener.Addr().String())
		switch {
		case want && err != nil:
			t.Errorf("uid %d with %d allowed: %v: %s", nobody, allowed, err, out)
		case want:
			if got := <-callers; !strings.HasPrefix(got, "unix:uid=65534 pid=") {
				t.Errorf("got caller %q", got)
			}
		case err == nil || !strings.Contains(out, "code = Unavailable"):
			t.Errorf("uid %d with %d allowed: got %v %q, want it refused", nobody, allowed, err, out)
		}
	}
}

// runAs runs this binary as a client of another user.
func runAs(t *testing.T, dir string, uid uint32, target string) (string, error) {
	t.Helper()
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	binary := filepath.Join(dir, "client")
	if err := os.WriteFile(binary, self, 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), binary)
	cmd.Dir = "/"
	cmd.Env = []string{childTarget + "=" + target}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func TestPeerCredentialsNeedUnixSocket(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	serve(t, listener, transport.PeerCredentials())
	config := &tls.Config{MinVersion: tls.VersionTLS13}
	wantRefused(t, call(t, listener.Addr().String(), config), "")
}

func TestDialWantsTLSOverTCP(t *testing.T) {
	for target, config := range map[string]*tls.Config{"127.0.0.1:1": nil, "unix:///run/x": {MinVersion: tls.VersionTLS13}} {
		conn, err := transport.Dial(target, transport.DialOptions{TLS: config})
		if err == nil {
			_ = conn.Close()
			t.Errorf("%s: dialled, want an error", target)
		}
	}
}

func TestIdentityUnknown(t *testing.T) {
	if got := transport.Identity(t.Context()); got != "unknown" {
		t.Errorf("got %q", got)
	}
}
