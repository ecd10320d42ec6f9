package systemd_test

import (
	"context"
	"errors"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/dynod/dynod/systemd"
)

const alive = "WATCHDOG=1\nEXTEND_TIMEOUT_USEC=30000"

func watched(t *testing.T, pid int) {
	t.Helper()
	t.Setenv("WATCHDOG_USEC", "30000")
	t.Setenv("WATCHDOG_PID", strconv.Itoa(pid))
}

func TestWatchdogIsFedWhileThePulseBeats(t *testing.T) {
	m := newManager(t)
	watched(t, os.Getpid())
	ctx, cancel := context.WithCancel(t.Context())
	beats, ended := make(chan error), make(chan error)
	go func() {
		ended <- systemd.Watchdog(ctx, func(ctx context.Context) error {
			select {
			case beat := <-beats:
				return beat
			case <-ctx.Done():
				return ctx.Err()
			}
		})
	}()
	for range 3 {
		beats <- nil
		if got := m.heard(); got != alive {
			t.Errorf("manager heard %q, want %q", got, alive)
		}
	}
	beats <- errors.New("a runner does not answer")
	beats <- errors.New("still not")
	beats <- nil // only now the loop is past both
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if got := m.heard(); got != alive || m.pending() {
		t.Errorf("after two failures and one success the manager heard %q, and more: %t", got, m.pending())
	}
}

func TestPulseHasADeadline(t *testing.T) {
	newManager(t)
	watched(t, os.Getpid())
	ctx, cancel := context.WithCancel(t.Context())
	err := systemd.Watchdog(ctx, func(beat context.Context) error {
		if _, bounded := beat.Deadline(); !bounded {
			t.Error("a pulse may take for ever")
		}
		cancel()
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

func TestNobodyWatches(t *testing.T) {
	pulse := func(context.Context) error {
		t.Error("pulse taken")
		return nil
	}
	t.Setenv("WATCHDOG_USEC", "")
	if err := systemd.Watchdog(t.Context(), pulse); err != nil {
		t.Error(err)
	}
	watched(t, os.Getppid()) // the environment of another process
	if err := systemd.Watchdog(t.Context(), pulse); err != nil {
		t.Error(err)
	}
	t.Setenv("WATCHDOG_USEC", "soon")
	if err := systemd.Watchdog(t.Context(), pulse); err == nil {
		t.Error("a time that is none was accepted")
	}
}

// pending tells whether there is one more message; the sender must have ended.
func (m manager) pending() bool {
	m.t.Helper()
	if err := m.conn.SetReadDeadline(time.Now().Add(time.Second)); err != nil {
		m.t.Fatal(err)
	}
	_, err := m.conn.Read(make([]byte, 1))
	return err == nil
}
