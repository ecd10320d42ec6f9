package main_test

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"

	"github.com/dynod/dynod/agent/rpc/transport"
	dynodv1 "github.com/dynod/dynod/proto/dynod/v1"
)

// agent is an AgentService that answers orders by what they say.
type agent struct {
	dynodv1.UnimplementedAgentServiceServer
}

func (agent) StartDyno(_ context.Context, order *dynodv1.StartDynoRequest) (*dynodv1.StartDynoResponse, error) {
	if order.GetSpec().GetApp() == "" {
		s, err := status.New(codes.InvalidArgument, "not valid").WithDetails(&errdetails.BadRequest{
			FieldViolations: []*errdetails.BadRequest_FieldViolation{{Field: "spec.app", Description: "is required"}},
		})
		if err != nil {
			return nil, err
		}
		return nil, s.Err()
	}
	h := order.GetHeader()
	return &dynodv1.StartDynoResponse{Dyno: &dynodv1.Dyno{Id: h.GetDynoId(), Generation: h.GetGeneration(), App: order.GetSpec().GetApp()}}, nil
}

func (agent) StopDyno(_ context.Context, order *dynodv1.StopDynoRequest) (*dynodv1.StopDynoResponse, error) {
	h := order.GetHeader()
	reason := order.GetReason() + " " + order.GetGrace().AsDuration().String()
	return &dynodv1.StopDynoResponse{Dyno: &dynodv1.Dyno{Id: h.GetDynoId(), Generation: h.GetGeneration(), Reason: reason}}, nil
}

func (agent) GetDyno(_ context.Context, ask *dynodv1.GetDynoRequest) (*dynodv1.GetDynoResponse, error) {
	return &dynodv1.GetDynoResponse{Dyno: &dynodv1.Dyno{Id: ask.GetDynoId()}}, nil
}

func (agent) ListDynos(ctx context.Context, _ *dynodv1.ListDynosRequest) (*dynodv1.ListDynosResponse, error) {
	return &dynodv1.ListDynosResponse{Dynos: []*dynodv1.Dyno{{Reason: transport.Identity(ctx)}}}, nil
}

// serveAgent serves an agent with the agent's certificate.
func serveAgent(t *testing.T) (address string) {
	t.Helper()
	config, err := transport.ServerTLS(files("agent"), []string{"plane"})
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer(append(transport.ServeOptions(), grpc.Creds(credentials.NewTLS(config)))...)
	dynodv1.RegisterAgentServiceServer(server, agent{})
	done := make(chan error, 1)
	go func() { done <- server.Serve(listener) }()
	t.Cleanup(func() {
		server.Stop()
		if err := <-done; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	return listener.Addr().String()
}

func order(t *testing.T, address, as string, args ...string) (string, error) {
	t.Helper()
	f := files(as)
	args = append([]string{"order", "--agent", address, "--cert", f.Cert, "--key", f.Key, "--ca", f.CA, "--server-name", "agent"}, args...)
	text, err := exec.CommandContext(t.Context(), dynoplane, args...).CombinedOutput()
	return string(text), err
}

func TestOrders(t *testing.T) {
	address := serveAgent(t)
	file := filepath.Join(t.TempDir(), "order.yaml")
	if err := os.WriteFile(file, []byte("header: {dyno_id: "+id+", generation: 3}\nspec: {app: shop}"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args []string
		want []string
	}{
		{[]string{"start", "-f", file}, []string{`"id": "` + id + `"`, `"generation": "3"`, `"app": "shop"`}},
		{[]string{"stop", id}, []string{`"id": "` + id + `"`, `"generation": "1"`, `"reason": " 0s"`}},
		{[]string{"stop", id, "--generation", "5", "--grace", "2s", "--reason", "Idling"}, []string{`"generation": "5"`, `"reason": "Idling 2s"`}},
		{[]string{"get", id}, []string{`"id": "` + id + `"`}},
		{[]string{"list"}, []string{`"reason": "tls:plane"`}},
	} {
		text, err := order(t, address, "plane", c.args...)
		for _, part := range c.want {
			if err != nil || !strings.Contains(text, part) {
				t.Errorf("%q: got %v %s, want %s in it", c.args, err, text, part)
			}
		}
	}
}

func TestOrderErrors(t *testing.T) {
	address := serveAgent(t)
	file := filepath.Join(t.TempDir(), "order.yaml")
	if err := os.WriteFile(file, []byte("spec: {}"), 0o600); err != nil {
		t.Fatal(err)
	}
	text, err := order(t, address, "plane", "start", "-f", file)
	if want := "dynoplane: InvalidArgument: not valid\n  spec.app: is required\n"; err == nil || text != want {
		t.Errorf("got %v %q, want %q", err, text, want)
	}
	if text, err := order(t, address, "agent", "list"); err == nil || !strings.Contains(text, "dynoplane: Unavailable: ") {
		t.Errorf("with a certificate that is not admitted: got %v %q", err, text)
	}
}

func TestCerts(t *testing.T) {
	data, err := os.ReadFile(filepath.Join(certs, "plane.pem"))
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(data)
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	if transport.CertificateName(cert) != "plane" || cert.VerifyHostname("127.0.0.9") != nil || cert.VerifyHostname("localhost") != nil {
		t.Errorf("got names %v %v", cert.DNSNames, cert.IPAddresses)
	}
	if !strings.Contains(string(data), "not for production") || time.Until(cert.NotAfter) > 31*24*time.Hour {
		t.Errorf("does not look thrown away: %s until %s", data, cert.NotAfter)
	}
	if info, err := os.Stat(filepath.Join(certs, "plane-key.pem")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("key file: %v, %v", info.Mode(), err)
	}
	text, err := exec.CommandContext(t.Context(), dynoplane, "certs", certs).CombinedOutput()
	if err == nil || !strings.Contains(string(text), "file exists") {
		t.Errorf("a second time: got %v %s, want nothing overwritten", err, text)
	}
}

func TestServeUsage(t *testing.T) {
	data := t.TempDir()
	for want, args := range map[string][]string{
		"--insecure is for unix sockets only":                {"--listen", "127.0.0.1:0", "--insecure"},
		"load certificate":                                   {"--listen", "127.0.0.1:0"},
		`required flag(s) "listen" not set`:                  {},
		"listen: listen unix /nowhere/s: bind: no such file": {"--listen", "/nowhere/s", "--insecure"},
	} {
		text, err := exec.CommandContext(t.Context(), dynoplane, append([]string{"serve", "--data", data}, args...)...).CombinedOutput()
		if err == nil || !strings.Contains(string(text), want) {
			t.Errorf("%q: got %v %s, want %q", args, err, text, want)
		}
	}
}
