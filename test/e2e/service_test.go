package e2e_test

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	dynodv1 "github.com/dynod/dynod/proto/dynod/v1"
	"github.com/dynod/dynod/test/rig"
)

// watchdog is what the unit of these tests allows, short so that it ends soon.
const watchdog = 1500 * time.Millisecond

// manager is the service manager's end of an agent.
type manager struct {
	*stage
	conn *net.UnixConn
}

// manage starts the agent again, as a service of that manager.
func manage(s *stage, env []string, sockets ...*os.File) manager {
	s.t.Helper()
	path := filepath.Join(s.Lab.Run(), "notify")
	conn := must(net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"}))(s.t)
	s.t.Cleanup(func() {
		if err := s.StopAgent(); err != nil { // while it is still heard
			s.t.Error(err)
		}
		_ = conn.Close()
	})
	s.check(s.StopAgent())
	s.check(s.StartAgentUnder(s.t.Context(), append(env, "NOTIFY_SOCKET="+path), sockets...))
	return manager{s, conn}
}

// await reads messages up to one that begins so.
func (m manager) await(begin string) {
	m.t.Helper()
	for {
		said, err := m.next(time.Minute)
		if err != nil {
			m.t.Fatalf("wait for %s: %v", begin, err)
		}
		if strings.HasPrefix(said, begin) {
			return
		}
	}
}

func (m manager) next(within time.Duration) (string, error) {
	m.t.Helper()
	m.check(m.conn.SetReadDeadline(time.Now().Add(within)))
	buf := make([]byte, 4096)
	n, err := m.conn.Read(buf)
	return string(buf[:n]), err
}

func TestWatchdogIsFedByTheAgentAlone(t *testing.T) {
	s := open(t, "")
	m := manage(s, []string{fmt.Sprintf("WATCHDOG_USEC=%d", watchdog.Microseconds())})
	s.await(s.start(s.order(1, "worker.1", "./web worker")), up)
	m.await("WATCHDOG=1")

	containerd := s.Lab.ContainerdPID()
	s.check(syscall.Kill(containerd, syscall.SIGSTOP))
	defer syscall.Kill(containerd, syscall.SIGCONT) //nolint:errcheck // or the lab cannot end it
	s.check(rig.Await(t.Context(), "the agent to miss containerd", func() (bool, error) {
		host, err := s.API().GetHost(t.Context(), &dynodv1.GetHostRequest{})
		return err == nil && !host.GetHost().GetContainerdReachable(), nil
	}))
	m.drain()
	for range 10 {
		m.await("WATCHDOG=1")
	}
	s.check(syscall.Kill(containerd, syscall.SIGCONT))

	s.check(syscall.Kill(s.AgentPID(), syscall.SIGSTOP))
	defer syscall.Kill(s.AgentPID(), syscall.SIGCONT) //nolint:errcheck // or it cannot be ended in an orderly way
	s.check(rig.Await(t.Context(), "the agent to freeze", func() (bool, error) {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", s.AgentPID()))
		return strings.Contains(string(stat), ") T "), err
	}))
	m.drain()
	if said, err := m.next(2 * watchdog); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("a frozen agent said %q, %v", said, err)
	}
}

// drain reads what was said until now.
func (m manager) drain() {
	m.t.Helper()
	for {
		if _, err := m.next(time.Millisecond); err != nil {
			return
		}
	}
}

func TestReload(t *testing.T) {
	s := open(t, "")
	m := manage(s, nil)
	m.await("READY=1")
	dyno := s.start(s.order(1, "worker.1", "./web worker"))
	before := s.await(dyno, up)

	m.reload(`allowed_clients = ["plane"]`, `allowed_clients = ["somebody"]`)
	if out, err := s.Order(t.Context(), "list"); err == nil {
		t.Errorf("a client that is not allowed any more was answered: %s", out)
	}
	m.reload("allowed_clients = [\"somebody\"]", "allowed_clients = [\"plane\"]\nmax_dynos = many")
	if !strings.Contains(s.Tail("agent.log"), "settings are refused") {
		t.Errorf("no word of a bad file:\n%s", s.Tail("agent.log"))
	}
	if out, err := s.Order(t.Context(), "list"); err == nil {
		t.Errorf("a file that was refused has changed something: %s", out)
	}
	m.reload("max_dynos = many", "[host]\nmax_dynos = 3\n[defaults]\nport = 7777")
	_ = must(s.Order(t.Context(), "list"))(t)
	if said := s.Tail("agent.log"); !strings.Contains(said, `"settings":["host.max_dynos"]`) {
		t.Errorf("the setting that waits for a restart is not named:\n%s", said)
	}
	later := s.order(2, "worker.2", "./web worker")
	s.await(s.start(later), up)
	if port := s.get(id(2)).GetPort(); port != 7777 {
		t.Errorf("a new dyno has port %d", port)
	}
	if d := s.get(dyno); d.GetPid() != before.GetPid() || d.GetPort() != before.GetPort() {
		t.Errorf("a dyno that ran has changed: %v, was %v", d, before)
	}
}

// reload replaces a part of the configuration and has it read again.
func (m manager) reload(old, fresh string) {
	m.t.Helper()
	path := filepath.Join(m.Lab.Dir(), "dynod.toml")
	text := string(must(os.ReadFile(path))(m.t))
	if !strings.Contains(text, old) {
		m.t.Fatalf("the configuration has no %s", old)
	}
	m.check(os.WriteFile(path, []byte(strings.Replace(text, old, fresh, 1)), 0o600))
	m.check(syscall.Kill(m.AgentPID(), syscall.SIGHUP))
	m.await("RELOADING=1")
	m.await("READY=1")
}

// A call made while no agent runs waits in the socket that the service manager keeps.
func TestCallsWaitForTheAgent(t *testing.T) {
	s := open(t, "")
	s.check(s.StopAgent())
	lis := must(net.ListenUnix("unix", &net.UnixAddr{Name: s.Socket(), Net: "unix"}))(t)
	defer lis.Close()
	socket := must(lis.File())(t)
	defer socket.Close()
	for range 2 {
		ctl := s.CtlCommand("ps")
		said := &strings.Builder{}
		ctl.Stdout, ctl.Stderr = said, said
		s.check(ctl.Start())
		s.check(s.StartAgentUnder(t.Context(), nil, socket))
		if err := ctl.Wait(); err != nil {
			t.Errorf("dynoctl: %v: %s", err, said)
		}
		s.check(s.StopAgent())
	}
	if _, err := os.Stat(s.Socket()); err != nil {
		t.Errorf("the agent has removed a socket that is not its own: %v", err)
	}
}

// Dynos have their last word when the host goes down, and only then does the agent take them along.
func TestDynosEndWithTheHost(t *testing.T) {
	for state, ends := range map[string]bool{"running": false, "stopping": true} {
		t.Run(state, func(t *testing.T) {
			s := open(t, "")
			bin := filepath.Join(s.Lab.Run(), "bin")
			s.check(os.Mkdir(bin, 0o700))
			s.check(os.WriteFile(filepath.Join(bin, "systemctl"), []byte("#!/bin/sh\necho "+state+"\nexit 1\n"), 0o700))
			manage(s, []string{"PATH=" + bin + ":" + os.Getenv("PATH")})
			dyno := s.await(s.start(s.order(1, "worker.1", "./web worker")), up)
			_ = s.output(dyno.GetId(), "stdout", "seq=1") // from here on it handles a signal
			s.check(s.StopAgent())
			s.check(s.StartAgent(t.Context()))
			if !ends {
				if d := s.get(dyno.GetId()); d.GetPhase() != up || d.GetPid() != dyno.GetPid() {
					t.Errorf("%v became %v", dyno, d)
				}
				return
			}
			got := s.output(dyno.GetId(), "stdout", "State changed from up to crashed")
			if n := len(got); n == 0 || !strings.HasPrefix(got[n-1], "end seq=") {
				t.Errorf("got %q", got)
			}
		})
	}
}
