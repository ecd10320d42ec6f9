package e2e_test

import (
	"encoding/json"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/dynod/dynod/cmd/dynod/doctor/report"
	"github.com/dynod/dynod/test/lab"
	"github.com/dynod/dynod/test/rig"
)

// doctor runs one of the two doctors on the host and returns its exit status too.
func (s *stage) doctor(program string, args ...string) (r report.Report, code int) {
	s.t.Helper()
	argv := append([]string{"doctor", "--output", "json", "--config", filepath.Join(s.Lab.Dir(), "dynod.toml")}, args...)
	out, err := s.Run(s.t.Context(), s.Lab.Host(), program, argv...)
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		s.t.Fatal(err)
	}
	if err := json.Unmarshal([]byte(out), &r); err != nil {
		s.t.Fatalf("%v: %q", err, out)
	}
	if exit != nil {
		code = exit.ExitCode()
	}
	return r, code
}

// failures are those of a report, as "check: text".
func failures(r report.Report) (all []string) {
	for _, f := range r.Findings {
		if f.Status == report.Failure {
			all = append(all, f.Check+": "+f.Text)
		}
	}
	return all
}

// healthy waits until dynoctl doctor finds no failure: the agent may not have heard of its control plane yet.
func (s *stage) healthy() {
	s.t.Helper()
	var last []string
	err := rig.Await(s.t.Context(), "a host without a failure", func() (bool, error) {
		r, code := s.doctor("dynoctl")
		last = failures(r)
		return code == 0 && last == nil, nil
	})
	if err != nil {
		s.t.Fatalf("%v: %q", err, last)
	}
}

// unhealthy fails the test unless a doctor finds exactly one failure, of this check and with these words.
func (s *stage) unhealthy(program, check string, words ...string) {
	s.t.Helper()
	r, code := s.doctor(program)
	found := failures(r)
	missing := func(word string) bool { return !strings.Contains(strings.Join(found, "\n"), word) }
	if code != 1 || len(found) != 1 || !strings.HasPrefix(found[0], check+": ") || slices.ContainsFunc(words, missing) {
		s.t.Errorf("status %d, %q; want 1 and %s: %q", code, found, check, words)
	}
}

// One fault after the other: doctor names each, and nothing without them.
func TestDoctorNamesFaults(t *testing.T) {
	s := open(t, "[host]\nmax_dynos = 16\nresting_slots = 16\n")
	s.healthy()
	for _, c := range []struct {
		name, harm, cure string
		check            string
		words            []string
	}{
		{
			"nftables", "nft add table ip other; nft add chain ip other wall '{ type filter hook forward priority 0; policy drop; }'", "nft delete table ip other",
			"firewall",
			[]string{"chain wall of firewall table other", "its policy"},
		},
		{
			"iptables-legacy", "iptables-legacy -w -A FORWARD -j DROP", "iptables-legacy -w -D FORWARD -j DROP",
			"firewall",
			[]string{"iptables-legacy table filter", "rule 1 of chain FORWARD"},
		},
		{
			"route", "ip route add 172.16.0.64/26 dev " + lab.HostLink, "ip route del 172.16.0.64/26",
			"addresses",
			[]string{"172.16.0.64/26", lab.HostLink},
		},
		{
			"address", "ip addr add 172.16.0.65/26 dev " + lab.HostLink, "ip addr del 172.16.0.65/26 dev " + lab.HostLink,
			"addresses",
			[]string{"172.16.0.65/26", lab.HostLink},
		},
	} {
		s.harm(c.harm)
		s.unhealthy("dynod", c.check, c.words...)
		s.harm(c.cure)
		if r, code := s.doctor("dynod"); code != 0 {
			t.Errorf("%s: without it: %q", c.name, failures(r))
		}
	}
	var listener net.Listener
	s.check(s.Lab.Do(s.Lab.Host(), func() (err error) {
		listener, err = net.Listen("tcp", "127.0.0.1:20031") // the last of 32
		return err
	}))
	s.unhealthy("dynod", "ports", "20031")
	s.check(listener.Close())
	s.healthy()
}

func (s *stage) harm(command string) {
	s.t.Helper()
	if out, err := s.Lab.Command(s.Lab.Host(), "sh", "-c", command).CombinedOutput(); err != nil {
		s.t.Fatalf("%s: %v: %s", command, err, out)
	}
}

// A host is examined without an agent as with one; dynoctl says that there is none.
func TestDoctorWithoutAgent(t *testing.T) {
	s := open(t, "")
	s.check(s.StopPlane())
	s.check(rig.Await(t.Context(), "the silence to be noticed", func() (bool, error) {
		r, _ := s.doctor("dynoctl")
		return slices.ContainsFunc(failures(r), func(f string) bool { return strings.HasPrefix(f, "agent: the control plane ") }), nil
	}))
	s.check(s.StopAgent())
	before := must(s.Lab.Snapshot(t.Context()))(t)
	if r, code := s.doctor("dynod"); code != 0 {
		t.Errorf("dynod: %d, %q", code, failures(r))
	}
	s.unhealthy("dynoctl", "agent", "does not run")
	listener := must(net.ListenUnix("unix", &net.UnixAddr{Name: s.Socket(), Net: "unix"}))(t) // as systemd does for it
	s.unhealthy("dynoctl", "agent", "does not run")
	s.check(listener.SetDeadline(time.Now()))
	if _, err := listener.Accept(); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("somebody called an agent that is stopped: %v", err)
	}
	s.check(listener.Close())
	if leaks := must(s.Lab.Leaks(t.Context(), before))(t); len(leaks) > 0 {
		t.Errorf("doctor left:\n%s", strings.Join(leaks, "\n"))
	}
}

// A containerd that is frozen is told from one that is not there, and one that would not wait for a slow shim is named.
func TestDoctorOfContainerd(t *testing.T) {
	s := open(t, "")
	s.check(s.StopAgent())
	file := filepath.Join(s.Lab.Dir(), "containerd.toml")
	patient := must(os.ReadFile(file))(t)
	hasty, _, _ := strings.Cut(string(patient), "[timeouts]")
	for text, want := range map[string]string{string(patient): "ok: version ", hasty: "warning: a containerd that comes back waits for a shim for 5s only"} {
		s.check(os.WriteFile(file, []byte(text), 0o600))
		r, _ := s.doctor("dynod")
		if !slices.ContainsFunc(r.Findings, func(f report.Finding) bool {
			return f.Check == "containerd" && strings.HasPrefix(string(f.Status)+": "+f.Text, want)
		}) {
			t.Errorf("found %+v; want %s", r.Findings, want)
		}
	}
	pid := s.Lab.ContainerdPID()
	s.check(syscall.Kill(pid, syscall.SIGSTOP))
	defer func() { s.check(syscall.Kill(pid, syscall.SIGCONT)) }()
	s.unhealthy("dynod", "containerd", "does not answer within 2 s")
	r, code := s.doctor("dynod", "--containerd.address", "/nowhere/containerd.sock")
	if found := failures(r); code != 1 || len(found) != 1 || !strings.Contains(found[0], "no such file") {
		t.Errorf("status %d, %q", code, found)
	}
}

func TestDoctorOfTheConfiguration(t *testing.T) {
	s := open(t, "")
	file := filepath.Join(s.Lab.Dir(), "dynod.toml")
	good := must(os.ReadFile(file))(t)
	s.check(os.WriteFile(file, append([]byte("host_nam = \"x\"\n"), good...), 0o600))
	check := func(status int, program string, args ...string) {
		r, code := s.doctor(program, args...)
		if found := failures(r); code != status || len(found) != 1 || !strings.Contains(found[0], `dynod.toml:1:1: unknown key "host_nam"; did you mean "host_name"?`) {
			t.Errorf("%s: status %d, %q", program, code, found)
		}
	}
	check(78, "dynod") // as config check
	check(1, "dynoctl", "--socket", s.Socket())
}
