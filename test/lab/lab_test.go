package lab_test

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/dynod/dynod/test/lab"
)

func TestContainerdAnswers(t *testing.T) {
	l := lab.New(t)
	ctx, client := dial(t, l)
	first := l.ContainerdPID()
	if _, err := l.Containerd(ctx); err != nil || l.ContainerdPID() != first {
		t.Fatalf("asked again: process %d, error %v; want %d", l.ContainerdPID(), err, first)
	}
	if err := l.RestartContainerd(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := client.Version(ctx); err != nil || l.ContainerdPID() == first {
		t.Fatalf("after a restart: %v, process %d", err, l.ContainerdPID())
	}
}

func TestWireJoinsHostAndOutside(t *testing.T) {
	l := lab.New(t)
	var server net.Listener
	err := l.Do(l.Outside(), func() (err error) {
		server, err = net.Listen("tcp", lab.OutsideAddress+":0")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	err = l.Do(l.Host(), func() error {
		conn, err := net.DialTimeout("tcp", server.Addr().String(), 5*time.Second)
		if err != nil {
			return err
		}
		return conn.Close()
	})
	if err != nil {
		t.Fatalf("host to outside: %v", err)
	}
	out, err := l.Command(l.Host(), "ip", "-brief", "link").Output()
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(out), lab.HostLink) || strings.Contains(string(out), "eth0") {
		t.Fatalf("not inside the host's namespace:\n%s", out)
	}
}

// TestOpenSweepsWhatAnInterruptedRunLeft lets a run end as a killed test does, with a container in its lab.
func TestOpenSweepsWhatAnInterruptedRunLeft(t *testing.T) {
	lab.Root(t)
	const name = "lab-interrupted"
	left, socket := interrupt(t, name)
	l, err := lab.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if err := left.Wait(); err == nil {
		t.Error("the child of the interrupted run ended by itself")
	}
	now, err := l.Snapshot(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for line := range now {
		if strings.HasPrefix(line, "process:") || strings.HasPrefix(line, "cgroup:") || strings.Contains(line, "note") {
			t.Errorf("still there: %s", line)
		}
	}
	if strings.Contains(swaps(t), l.Dir()) {
		t.Errorf("still there: swap:\n%s", swaps(t))
	}
	if _, err := os.Stat(socket); err == nil {
		t.Errorf("the shim's socket %s is still there", socket)
	}
	if _, err := lab.Open(name); err == nil {
		t.Error("opened a lab that is open")
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(l.Dir()); err == nil {
		t.Error("closed, and its directory is still there")
	}
}

// interrupt runs this test program as the one that is interrupted. It returns a process of its lab, still alive, and
// the socket of its container's shim, which lies outside the lab.
func interrupt(t *testing.T, name string) (*exec.Cmd, string) {
	t.Helper()
	self := exec.Command(os.Args[0], "-test.run=^TestInterruptedRun$")
	self.Env = append(os.Environ(), "LAB_INTERRUPTED="+name)
	out, err := self.CombinedOutput()
	said := regexp.MustCompile(`interrupted, leaving unix://(\S+)`).FindStringSubmatch(string(out))
	if err == nil || said == nil {
		t.Fatalf("interrupted run: %v\n%s", err, out)
	}
	if _, err := os.Stat(said[1]); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("sleep", "20")
	cmd.Env = []string{"LAB_DIR=/var/tmp/dynod-lab/" + name}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return cmd, said[1]
}

// TestInterruptedRun is the body of the interrupted run; by itself it does nothing.
func TestInterruptedRun(t *testing.T) {
	name := os.Getenv("LAB_INTERRUPTED")
	if name == "" {
		t.Skip("part of TestOpenSweepsWhatAnInterruptedRunLeft")
	}
	l, err := lab.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	startContainer(t, l, "left", "/bin/sleep", "300")
	if err := os.WriteFile(filepath.Join(l.Run(), "note"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := l.Swap(t.Context(), 16); err != nil {
		t.Fatal(err)
	}
	address, err := filepath.Glob(l.Run() + "/containerd/io.containerd.runtime.v2.task/*/left/address")
	if err != nil || len(address) != 1 {
		t.Fatalf("address files %v, error %v", address, err)
	}
	socket, err := os.ReadFile(address[0])
	if err != nil {
		t.Fatal(err)
	}
	panic("interrupted, leaving " + string(socket))
}
