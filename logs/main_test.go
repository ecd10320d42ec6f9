package logs_test

import (
	"context"
	"log/slog"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/dynod/dynod/logs"
	"github.com/dynod/dynod/logs/capture"
)

// TestMain also plays the processes that the tests kill: "capture <socket> <spool> <bound> <host's bound>", and the agent's part,
// "agent <socket> <spool> <receiver>".
func TestMain(m *testing.M) {
	if len(os.Args) > 5 && os.Args[1] == "capture" {
		runCapture(os.Args[2], os.Args[3], os.Args[4], os.Args[5])
		return
	}
	if len(os.Args) > 4 && os.Args[1] == "agent" {
		runAgent(os.Args[2], os.Args[3], os.Args[4])
		return
	}
	goleak.VerifyTestMain(m)
}

func runCapture(socket, spoolDir, bound, hostBound string) {
	_ = unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0) // nothing stays of an interrupted test
	ctx, _ := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	n, _ := strconv.ParseInt(bound, 10, 64)
	all, _ := strconv.ParseInt(hostBound, 10, 64)
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	if err := capture.Run(ctx, capture.Config{Socket: socket, SpoolDir: spoolDir, SpoolBytes: n, HostBytes: all}, nil, log); err != nil {
		log.Error("capture ended", "error", err)
		os.Exit(1)
	}
}

// host is one spool with its capture, and the Logs of an agent that can be ended and begun anew.
type host struct {
	t    testing.TB
	cfg  logs.Config
	sink logs.Sink
	log  slog.Handler // nil: none
	*logs.Logs
	stop func()
}

const testBound = 256 << 20

func newHost(t testing.TB, sink logs.Sink, change func(*logs.Config)) *host {
	t.Helper()
	cfg := logs.Config{SpoolDir: t.TempDir(), Socket: t.TempDir() + "/capture.sock", SpoolBytes: testBound}
	if change != nil {
		change(&cfg)
	}
	if cfg.Capture == nil {
		cfg.Capture = []string{os.Args[0], "capture", cfg.Socket, cfg.SpoolDir, strconv.FormatInt(cfg.SpoolBytes, 10), strconv.FormatInt(cfg.HostBytes, 10)}
	}
	h := &host{t: t, cfg: cfg, sink: sink}
	t.Cleanup(func() {
		if h.stop != nil && h.cfg.Capture[0] == os.Args[0] { // a capture that is just being started would outlive the test
			ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
			_ = h.Drained(ctx, newID())
			cancel()
		}
		h.end()
		if pid := h.capturePid(); pid > 0 {
			h.kill(pid)
		}
	})
	h.begin()
	return h
}

func (h *host) begin() {
	h.t.Helper()
	log := slog.New(slog.DiscardHandler)
	if h.log != nil {
		log = slog.New(h.log)
	}
	l, err := logs.New(h.t.Context(), h.cfg, h.sink, log)
	if err != nil {
		h.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- l.Run(ctx) }()
	h.Logs = l
	h.stop = func() {
		cancel()
		if err := <-done; err != nil {
			h.t.Errorf("Run: %v", err)
		}
	}
}

func (h *host) end() {
	if h.stop != nil {
		h.stop()
	}
	h.stop = nil
}

func (h *host) capturePid() int {
	b, _ := os.ReadFile(capture.PidFile(h.cfg.Socket))
	pid, _ := strconv.Atoi(strings.TrimSpace(string(b)))
	return pid
}

// kill ends a capture and sees it dead. It is a child of this process, which Logs may bury first.
func (h *host) kill(pid int) {
	if pid <= 1 { // would mean others
		h.t.Fatalf("no capture to kill: %d", pid)
	}
	_ = syscall.Kill(pid, syscall.SIGKILL)
	_, _ = syscall.Wait4(pid, nil, 0, nil)
}

func (h *host) open(id string) logs.Pipes {
	h.t.Helper()
	p, err := h.Open(h.ctx(), id)
	if err != nil {
		h.t.Fatalf("Open: %v", err)
	}
	h.t.Cleanup(p.Close)
	return p
}

// ctx ends after a time in which everything in these tests is over.
func (h *host) ctx() context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	h.t.Cleanup(cancel)
	return ctx
}

// over ends the dyno and waits until all it said is delivered.
func (h *host) over(id string, p logs.Pipes) {
	h.t.Helper()
	p.Close()
	if err := h.Drained(h.ctx(), id); err != nil {
		h.t.Fatalf("Drained: %v", err)
	}
	h.Finish(id)
	if err := h.Shipped(h.ctx(), id); err != nil {
		h.t.Fatalf("Shipped: %v", err)
	}
}

func newID() string { return uuid.NewString() }

func write(t testing.TB, f *os.File, s string) {
	t.Helper()
	if _, err := f.WriteString(s); err != nil {
		t.Errorf("write: %v", err)
	}
}
