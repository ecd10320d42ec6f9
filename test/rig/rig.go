// Package rig puts a whole small platform into a lab: dynod with its log holder in the lab's host, the reference
// control plane outside, joined by mutual TLS, and a private containerd. Tests and the demo drive it as an operator
// would: with dynoctl, dynoplane and signals.
package rig

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"google.golang.org/grpc"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/dynod/dynod/agent/rpc/transport"
	dynodv1 "github.com/dynod/dynod/proto/dynod/v1"
	"github.com/dynod/dynod/test/lab"
)

// PlaneAddress is where the agent looks for its control plane, in the lab's outside.
const PlaneAddress = lab.OutsideAddress + ":7071"

// AgentAddress is where the agent listens, in the lab's host.
const AgentAddress = lab.HostAddress + ":7070"

// patience bounds every wait for a process to come up or go away.
const patience = 30 * time.Second

// Rig is one platform. Those of its methods that start or end agent and control plane are for one goroutine at a time.
type Rig struct {
	Lab  *lab.Lab
	bin  string // directory of the four binaries
	conn *grpc.ClientConn

	agent, plane *exec.Cmd
}

// New lays out certificates and configuration and starts containerd, but neither agent nor control plane. bin holds
// the binaries; stacks names the stack images; extra is appended to the agent's configuration file (TOML).
func New(ctx context.Context, l *lab.Lab, bin string, stacks map[string]string, extra string) (*Rig, error) {
	r := &Rig{Lab: l, bin: bin}
	containerd, err := l.Containerd(ctx)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(r.path("plane"), 0o700); err != nil {
		return nil, err
	}
	if _, err := r.Run(ctx, "", "dynoplane", "certs", r.path("certs"), "--host", lab.HostAddress, "--host", lab.OutsideAddress); err != nil {
		return nil, err
	}
	if err := os.WriteFile(r.path("dynod.toml"), []byte(r.config(containerd, stacks)+extra), 0o600); err != nil {
		return nil, err
	}
	r.conn, err = transport.Dial("unix://"+r.Socket(), transport.DialOptions{UserAgent: "rig"})
	return r, err
}

func (r *Rig) config(containerd string, stacks map[string]string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "host_name = \"lab\"\nstate_dir = %q\nrun_dir = %q\n", r.path("state"), r.runDir())
	fmt.Fprintf(&b, "[log]\nlevel = \"debug\"\nformat = \"json\"\n")
	fmt.Fprintf(&b, "[containerd]\naddress = %q\nnamespace = %q\ncgroup_parent = %q\ninit = %q\n", containerd, r.Lab.Namespace(), r.Lab.CgroupParent(), filepath.Join(r.bin, "dyno-init"))
	fmt.Fprintf(&b, "[api]\nlisten = %q\ncert = %q\nkey = %q\nca = %q\nallowed_clients = [\"plane\"]\n",
		AgentAddress, r.path("certs/agent.pem"), r.path("certs/agent-key.pem"), r.path("certs/ca.pem"))
	fmt.Fprintf(&b, "[upstream]\naddress = %q\ncert = %q\nkey = %q\nca = %q\nserver_name = %q\nheartbeat = \"2s\"\n",
		PlaneAddress, r.path("certs/agent.pem"), r.path("certs/agent-key.pem"), r.path("certs/ca.pem"), lab.OutsideAddress)
	fmt.Fprintf(&b, "[artifacts]\nallow_file_urls = true\n[artifacts.stacks]\n")
	for name, image := range stacks {
		fmt.Fprintf(&b, "%q = %q\n", name, image)
	}
	return b.String()
}

// Socket is the agent's unix socket.
func (r *Rig) Socket() string { return filepath.Join(r.runDir(), "dynod.sock") }

func (r *Rig) runDir() string { return filepath.Join(r.Lab.Run(), "d") }

func (r *Rig) path(name string) string { return filepath.Join(r.Lab.Dir(), name) }

// PlaneFiles are the certificate and key of the control plane. Agents say that they are "agent".
func (r *Rig) PlaneFiles() transport.TLSFiles {
	return transport.TLSFiles{Cert: r.path("certs/plane.pem"), Key: r.path("certs/plane-key.pem"), CA: r.path("certs/ca.pem")}
}

// StartPlane starts the control plane.
func (r *Rig) StartPlane() error {
	cmd, err := r.start(r.Lab.Outside(), "plane.log", "dynoplane", "serve", "--listen", PlaneAddress, "--data", r.path("plane"),
		"--cert", r.path("certs/plane.pem"), "--key", r.path("certs/plane-key.pem"), "--ca", r.path("certs/ca.pem"), "--allow", "agent")
	r.plane = cmd
	return err
}

// StopPlane ends the control plane with SIGKILL.
func (r *Rig) StopPlane() error { return end(&r.plane, syscall.SIGKILL) }

// StartAgent starts the agent and waits until it serves.
func (r *Rig) StartAgent(ctx context.Context) error {
	cmd, err := r.start(r.Lab.Host(), "agent.log", "dynod", "--config", r.path("dynod.toml"))
	if err != nil {
		return err
	}
	r.agent = cmd
	return r.awaitServing(ctx)
}

// StartAgentUnder starts the agent as the service manager does whose environment env is, with sockets that it listens on
// already, and waits until it serves. The log holder must run.
func (r *Rig) StartAgentUnder(ctx context.Context, env []string, sockets ...*os.File) error {
	own := `LISTEN_PID=$$ WATCHDOG_PID=$$ exec "$0" "$@"` // only the process itself knows its number
	cmd := r.dress(r.Lab.Command(r.Lab.Host(), "sh", "-c", own, r.Program("dynod"), "--config", r.path("dynod.toml")))
	cmd.Env = append(append(cmd.Env, env...), fmt.Sprintf("LISTEN_FDS=%d", len(sockets)))
	cmd.ExtraFiles = sockets
	if err := r.launch(cmd, "agent.log"); err != nil {
		return err
	}
	r.agent = cmd
	return r.awaitServing(ctx)
}

func (r *Rig) awaitServing(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		// A new connection each time: the old one may wait long before it tries again.
		r.conn.ResetConnectBackoff()
		answer, err := healthpb.NewHealthClient(r.conn).Check(ctx, &healthpb.HealthCheckRequest{})
		if err == nil && answer.GetStatus() == healthpb.HealthCheckResponse_SERVING {
			return nil
		}
		select {
		case <-time.After(5 * time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("the agent does not serve: %w; its log ends:\n%s", err, r.Tail("agent.log"))
		}
	}
}

// KillAgent ends the agent with SIGKILL, StopAgent with SIGTERM. Dynos and log holder live on.
func (r *Rig) KillAgent() error { return end(&r.agent, syscall.SIGKILL) }

// StopAgent ends the agent in an orderly way.
func (r *Rig) StopAgent() error { return end(&r.agent, syscall.SIGTERM) }

// AgentPID is the agent's process id.
func (r *Rig) AgentPID() int { return r.agent.Process.Pid }

func (r *Rig) start(ns, logName, program string, args ...string) (*exec.Cmd, error) {
	cmd := r.command(ns, program, args...)
	return cmd, r.launch(cmd, logName)
}

func (r *Rig) launch(cmd *exec.Cmd, logName string) error {
	out, err := os.OpenFile(r.path(logName), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer out.Close()
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", cmd, err)
	}
	return nil
}

func (r *Rig) command(ns, program string, args ...string) *exec.Cmd {
	return r.dress(r.Lab.Command(ns, append([]string{r.Program(program)}, args...)...))
}

func (r *Rig) dress(cmd *exec.Cmd) *exec.Cmd {
	cmd.Env = append(cmd.Env,
		"GORACE=atexit_sleep_ms=0",              // else a binary with the race detector takes 1 s to end
		"SSL_CERT_FILE="+r.path("certs/ca.pem"), // the only authority of the lab's outside
	)
	return cmd
}

func end(cmd **exec.Cmd, sig syscall.Signal) error {
	c := *cmd
	if c == nil {
		return nil
	}
	*cmd = nil
	if err := c.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	late := time.AfterFunc(patience, func() { _ = c.Process.Kill() })
	defer late.Stop()
	err := c.Wait()
	var exit *exec.ExitError
	if errors.As(err, &exit) && sig == syscall.SIGKILL {
		return nil
	}
	return err
}

// Program is the path of one of the binaries.
func (r *Rig) Program(name string) string { return filepath.Join(r.bin, name) }

// Run runs one of the binaries inside ns to its end and returns its standard output; an error holds the rest.
func (r *Rig) Run(ctx context.Context, ns, program string, args ...string) (string, error) {
	cmd := r.command(ns, program, args...)
	var out, bad strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &bad
	stop := context.AfterFunc(ctx, func() {
		if cmd.Process != nil {
			_ = cmd.Process.Kill()
		}
	})
	defer stop()
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("%s %s: %w: %s", program, strings.Join(args, " "), err, strings.TrimSpace(bad.String()))
	}
	return out.String(), nil
}

// CtlCommand is dynoctl on the host, to be started by the caller.
func (r *Rig) CtlCommand(args ...string) *exec.Cmd {
	return r.command(r.Lab.Host(), "dynoctl", append([]string{"--socket", r.Socket()}, args...)...)
}

// Ctl runs dynoctl on the host.
func (r *Rig) Ctl(ctx context.Context, args ...string) (string, error) {
	return r.Run(ctx, r.Lab.Host(), "dynoctl", append([]string{"--socket", r.Socket()}, args...)...)
}

// Order has the control plane send an order over TLS.
func (r *Rig) Order(ctx context.Context, args ...string) (string, error) {
	return r.Run(ctx, r.Lab.Outside(), "dynoplane", append([]string{
		"order", "--agent", AgentAddress,
		"--cert", r.path("certs/plane.pem"), "--key", r.path("certs/plane-key.pem"), "--ca", r.path("certs/ca.pem"),
	}, args...)...)
}

// API asks the agent over its unix socket.
func (r *Rig) API() dynodv1.AgentServiceClient { return dynodv1.NewAgentServiceClient(r.conn) }

// OrderFile writes a start order (StartDynoRequest as JSON) for the control plane or dynoctl and returns its path.
func (r *Rig) OrderFile(name string, order []byte) (string, error) {
	path := r.path(name + ".order.json")
	return path, os.WriteFile(path, order, 0o600)
}

// Tail is the last lines of one of the rig's log files, without those that contain one of the words.
func (r *Rig) Tail(name string, without ...string) string {
	data, err := os.ReadFile(r.path(name))
	if err != nil {
		return err.Error()
	}
	lines := slices.DeleteFunc(strings.SplitAfter(string(data), "\n"), func(line string) bool {
		return slices.ContainsFunc(without, func(word string) bool { return strings.Contains(line, word) })
	})
	const most = 30
	return strings.Join(lines[max(0, len(lines)-most):], "")
}

// Close ends agent and control plane. The rest goes with the lab.
func (r *Rig) Close() error {
	return errors.Join(r.conn.Close(), r.StopAgent(), r.StopPlane())
}
