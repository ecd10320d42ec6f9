package capture_test

import (
	"context"
	"errors"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/dynod/dynod/logs/capture"
)

// TestFrozenCapture: nobody who asks a capture that takes nothing waits for longer than he wants to, behind others neither. When
// it goes on, so does the connection.
func TestFrozenCapture(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "capture.sock")
	l, err := net.ListenUnix("unixpacket", &net.UnixAddr{Name: socket, Net: "unixpacket"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	c, err := capture.Dial(t.Context(), socket)
	if err != nil {
		t.Fatal(err)
	}
	ask := func(ctx context.Context) error {
		m := capture.Message{Kind: capture.Attach, ID: uuid.NewString(), Text: strings.Repeat("x", 1024)}
		return c.Do(ctx, m, nil, nil)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range 300 { // more than the socket holds
			ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
			if err := ask(ctx); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("Do: %v", err)
			}
			cancel()
		}
		patient, cancel := context.WithCancel(t.Context())
		waits := make(chan error, 1)
		go func() { waits <- ask(patient) }()
		hasty, stop := context.WithTimeout(t.Context(), 20*time.Millisecond)
		defer stop()
		if err := ask(hasty); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Do: %v", err)
		}
		cancel()
		if err := <-waits; !errors.Is(err, context.Canceled) {
			t.Errorf("Do: %v", err)
		}
	}()
	select {
	case <-done:
	case <-time.After(20 * time.Second):
		c.Close()
		<-done
		t.Fatal("somebody waits for ever")
	}
	t.Cleanup(c.Close)
	thaw(t, l, c)
}

// thaw takes what was asked, and then a question more.
func thaw(t *testing.T, l *net.UnixListener, c *capture.Client) {
	t.Helper()
	conn, err := l.AcceptUnix()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	last, asked := uuid.NewString(), make(chan error, 1)
	go func() { asked <- c.Do(ctx, capture.Message{Kind: capture.Forget, ID: last}, nil, nil) }()
	for buf := make([]byte, 64<<10); ; {
		n, err := conn.Read(buf)
		m, bad := capture.Parse(buf[:max(0, n)])
		if err != nil || bad != nil {
			t.Fatalf("%v, %v", err, bad)
		}
		if m.ID == last {
			break
		}
	}
	cancel() // nobody answers
	if err := <-asked; !errors.Is(err, context.Canceled) {
		t.Errorf("Do: %v", err)
	}
}
