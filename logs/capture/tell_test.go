package capture_test

import (
	"context"
	"testing"
	"time"

	"github.com/google/uuid"
	"golang.org/x/sys/unix"

	"github.com/dynod/dynod/logs/capture"
	"github.com/dynod/dynod/logs/spool"
)

// TestAgentThatDoesNotListen has more streams change than one message tells while the agent takes none.
func TestAgentThatDoesNotListen(t *testing.T) {
	s := start(t, capture.Config{})
	s.dial() // it listens by now
	c, err := capture.Dial(t.Context(), s.cfg.Socket)
	if err != nil {
		t.Fatal(err)
	}
	ends, gate, done := map[string]int64{}, make(chan struct{}), make(chan struct{})
	deaf := make(chan struct{})
	heard := make(chan map[string]int64, 1)
	const dynos, last = 1001, 200
	go func() {
		defer close(done)
		_ = c.Serve(context.Background(), func(entries []capture.Entry) {
			for _, e := range entries {
				ends[e.ID] = max(ends[e.ID], e.End)
			}
			select {
			case <-deaf:
				<-gate
			default:
			}
			if complete(ends, dynos, last) {
				select {
				case heard <- ends:
				default:
				}
			}
		})
	}()
	t.Cleanup(func() { c.Close(); <-done })
	var pipes []int
	for range dynos {
		var fds [2]int
		if err := unix.Pipe2(fds[:], unix.O_CLOEXEC); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = unix.Close(fds[1]) })
		m := capture.Message{Kind: capture.Restore, ID: uuid.NewString(), Mask: capture.Mask(0).With(spool.Stdout)}
		_, _, err := do(t, c, m, fds[0])
		_ = unix.Close(fds[0])
		if err != nil {
			t.Fatal(err)
		}
		pipes = append(pipes, fds[1])
	}
	close(deaf)
	pace := time.NewTicker(15 * time.Millisecond) // a stream is told of at most every 10 ms
	defer pace.Stop()
	for range last {
		<-pace.C
		for _, fd := range pipes {
			if _, err := unix.Write(fd, []byte{'\n'}); err != nil {
				t.Fatal(err)
			}
		}
	}
	close(gate)
	select {
	case <-heard:
	case <-time.After(30 * time.Second):
		t.Error("not told of everything")
	}
}

func complete(ends map[string]int64, dynos int, end int64) bool {
	for _, e := range ends {
		if e < end {
			return false
		}
	}
	return len(ends) == dynos
}
