package main_test

import (
	"bytes"
	"context"
	"fmt"
	"net"
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
	pid, client := startCapture(t, nil)
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
				if i%6 >= 2 { // not a write end
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

// TestCaptureTakesKept hands over a pipe as systemd does from its fd store.
func TestCaptureTakesKept(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.WriteString("said while there was no capture\n"); err != nil {
		t.Fatal(err)
	}
	_ = w.Close()
	manager, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: filepath.Join(t.TempDir(), "notify"), Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer manager.Close()
	name := uuid.NewString() + ".out"
	_, _ = startCapture(t, r, "NOTIFY_SOCKET="+manager.LocalAddr().String(), "LISTEN_FDS=1", "LISTEN_FDNAMES="+name)
	_ = r.Close()
	_ = manager.SetReadDeadline(time.Now().Add(10 * time.Second))
	buf := make([]byte, 1000)
	for want := "FDSTOREREMOVE=1\nFDNAME=" + name; ; {
		n, err := manager.Read(buf)
		if err != nil {
			t.Fatalf("at the end of the pipe the manager does not hear %q: %v", want, err)
		}
		if string(buf[:n]) == want {
			return
		}
	}
}

// startCapture runs the real capture until the test ends, with a descriptor that was kept for it.
func startCapture(t *testing.T, kept *os.File, env ...string) (pid int, c *capture.Client) {
	t.Helper()
	run, err := os.MkdirTemp("/dev/shm", "dynod-test-") //nolint:usetesting // run_dir must be on a tmpfs
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(run) })
	ctx, cancel := context.WithCancel(context.Background())
	env = append(env, "DYNOD_RUN_DIR="+run, "DYNOD_STATE_DIR="+t.TempDir(), "DYNOD_LOGS_SPOOL_BYTES=2MiB")
	cmd := command(ctx, env)
	cmd.Path, cmd.Args = "/bin/sh", []string{"sh", "-c", `LISTEN_PID=$$ exec "$0" capture`, dynod} // only the shell knows the pid before
	cmd.Stderr = os.Stderr
	if kept != nil {
		cmd.ExtraFiles = []*os.File{kept}
	}
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
