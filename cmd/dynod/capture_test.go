package main_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/google/uuid"
	"golang.org/x/sys/unix"

	"github.com/dynod/dynod/logs/capture"
)

// TestCaptureMemory lets 200 dynos speak on both streams, 100 lines a second each, and then flood over the bound all
// at once: capture stays below 30 MiB.
func TestCaptureMemory(t *testing.T) {
	pid, client := startCapture(t)
	var fds []int
	for range 200 {
		m := capture.Message{Kind: capture.Open, ID: uuid.NewString()}
		err := client.Do(t.Context(), m, nil, func(_ capture.Message, got []int) { fds = append(fds, got...) })
		if err != nil {
			t.Fatal(err)
		}
	}
	line := []byte(strings.Repeat("x", 99) + "\n")
	say := func(text []byte, times int, pause time.Duration) {
		for range times {
			for i, fd := range fds {
				if i%4 >= 2 { // a read end
					continue
				}
				if _, err := unix.Write(fd, text); err != nil {
					t.Fatal(err)
				}
			}
			time.Sleep(pause)
		}
	}
	say(line, 100, 10*time.Millisecond)
	speaking := resident(t, pid)
	say(bytes.Repeat(line, 5000), 3, 0)
	flooding := resident(t, pid)
	t.Logf("resident: %d KiB speaking, %d KiB flooding", speaking>>10, flooding>>10)
	if max(speaking, flooding) > 30<<20 {
		t.Error("capture takes more than 30 MiB")
	}
	for _, fd := range fds {
		_ = unix.Close(fd)
	}
}

// startCapture runs the real capture until the test ends.
func startCapture(t *testing.T) (pid int, c *capture.Client) {
	t.Helper()
	run, err := os.MkdirTemp("/dev/shm", "dynod-test-") // run_dir must be on a tmpfs
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(run) })
	ctx, cancel := context.WithCancel(context.Background())
	cmd := command(ctx, []string{"DYNOD_RUN_DIR=" + run, "DYNOD_STATE_DIR=" + t.TempDir(), "DYNOD_LOGS_SPOOL_BYTES=2MiB"}, "capture")
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cancel(); _ = cmd.Wait() })
	for deadline := time.Now().Add(20 * time.Second); c == nil; {
		c, err = capture.Dial(ctx, filepath.Join(run, "capture.sock"))
		if err != nil && (!errdefs.IsUnavailable(err) || time.Now().After(deadline)) {
			t.Fatal(err)
		}
	}
	served := make(chan struct{})
	go func() { defer close(served); _ = c.Serve(ctx, func([]capture.Entry) {}) }()
	t.Cleanup(func() { c.Close(); <-served })
	return cmd.Process.Pid, c
}

// resident is the memory of a process in bytes.
func resident(t *testing.T, pid int) int64 {
	t.Helper()
	var size, pages int64
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if err == nil {
		_, err = fmt.Sscan(string(b), &size, &pages)
	}
	if err != nil {
		t.Fatal(err)
	}
	return pages * int64(os.Getpagesize())
}
