package systemd_test

import (
	"context"
	"net"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"go.uber.org/goleak"

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
		{"STATUS=3 dynos, 1 crashed", func() error { return systemd.Status("3 dynos,\n1 crashed") }},
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

func TestWatchdogPassesBeatsOn(t *testing.T) {
	defer goleak.VerifyNone(t)
	m := newManager(t)
	t.Setenv("WATCHDOG_USEC", strconv.Itoa(int(10*time.Second/time.Microsecond)))
	t.Setenv("WATCHDOG_PID", "")
	if got, err := systemd.BeatInterval(); got != 5*time.Second || err != nil {
		t.Errorf("BeatInterval = %v, %v; want 5s", got, err)
	}

	ctx, cancel := context.WithCancel(t.Context())
	beats, done := make(chan struct{}), make(chan error)
	go func() { done <- systemd.Watchdog(ctx, beats) }()
	for range 3 {
		beats <- struct{}{}
		if got := m.heard(); got != "WATCHDOG=1" {
			t.Errorf("manager heard %q", got)
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestWatchdogOff(t *testing.T) {
	t.Setenv("WATCHDOG_USEC", "")
	t.Setenv("NOTIFY_SOCKET", filepath.Join(t.TempDir(), "missing")) // using it would be an error
	beats := make(chan struct{}, 3)
	for range 3 {
		beats <- struct{}{}
	}
	close(beats)
	if err := systemd.Watchdog(t.Context(), beats); err != nil {
		t.Error(err)
	}
}

func TestWatchdogMisconfigured(t *testing.T) {
	t.Setenv("WATCHDOG_USEC", "soon")
	if err := systemd.Watchdog(t.Context(), nil); err == nil {
		t.Error("a period that is no number went unnoticed")
	}
}
