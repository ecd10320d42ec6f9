package systemd_test

import (
	"net"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"github.com/dynod/dynod/systemd"
)

// manager is the service manager's end of the notification socket.
type manager struct {
	t    *testing.T
	conn *net.UnixConn
}

func newManager(t *testing.T) manager {
	t.Helper()
	path := filepath.Join(t.TempDir(), "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	t.Setenv("NOTIFY_SOCKET", path)
	return manager{t, conn}
}

// heard is the next message, at most 5 s away.
func (m manager) heard() string {
	m.t.Helper()
	if err := m.conn.SetReadDeadline(time.Now().Add(5 * time.Second)); err != nil {
		m.t.Fatal(err)
	}
	buf := make([]byte, 4096)
	n, err := m.conn.Read(buf)
	if err != nil {
		m.t.Fatal(err)
	}
	return string(buf[:n])
}

func TestNotify(t *testing.T) {
	m := newManager(t)
	if !systemd.Supervised() {
		t.Error("not supervised in spite of a notification socket")
	}
	for _, c := range []struct {
		want string
		say  func() error
	}{
		{"READY=1", systemd.Ready},
		{"STOPPING=1", systemd.Stopping},
	} {
		if err := c.say(); err != nil {
			t.Fatal(err)
		}
		if got := m.heard(); got != c.want {
			t.Errorf("manager heard %q, want %q", got, c.want)
		}
	}
}

func TestReloading(t *testing.T) {
	m := newManager(t)
	if err := systemd.Reloading(); err != nil {
		t.Fatal(err)
	}
	if got := m.heard(); !regexp.MustCompile(`^RELOADING=1\nMONOTONIC_USEC=[0-9]+\n?$`).MatchString(got) {
		t.Errorf("manager heard %q", got)
	}
}

func TestNobodyToNotify(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", "")
	if systemd.Supervised() {
		t.Error("supervised by nobody")
	}
	if err := systemd.Ready(); err != nil {
		t.Errorf("without a service manager: %v", err)
	}
	t.Setenv("NOTIFY_SOCKET", filepath.Join(t.TempDir(), "missing"))
	if err := systemd.Ready(); err == nil {
		t.Error("no error although the manager's socket is gone")
	}
}
