package capture_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/google/uuid"
	"golang.org/x/sys/unix"

	"github.com/dynod/dynod/logs/capture"
	"github.com/dynod/dynod/logs/spool"
)

type server struct {
	t   testing.TB
	cfg capture.Config
}

// start runs a capture in this process until the test ends.
func start(t testing.TB, cfg capture.Config) *server {
	t.Helper()
	if cfg.Socket == "" {
		cfg.Socket = filepath.Join(t.TempDir(), "capture.sock")
	}
	if cfg.SpoolDir == "" {
		cfg.SpoolDir = t.TempDir()
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- capture.Run(ctx, cfg, nil, slog.New(slog.DiscardHandler)) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	return &server{t: t, cfg: cfg}
}

// dial connects as soon as capture listens.
func (s *server) dial() (*capture.Client, <-chan []capture.Entry) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	for {
		c, err := capture.Dial(ctx, s.cfg.Socket)
		if errdefs.IsUnavailable(err) && ctx.Err() == nil {
			continue
		}
		if err != nil {
			s.t.Fatal(err)
		}
		changes, done := make(chan []capture.Entry, 1000), make(chan error, 1)
		go func() {
			done <- c.Serve(context.Background(), func(e []capture.Entry) {
				if len(changes) == cap(changes) { // nobody looks at them
					<-changes
				}
				changes <- e
			})
		}()
		s.t.Cleanup(func() {
			c.Close()
			if err := <-done; !errors.Is(err, capture.ErrClosed) {
				s.t.Errorf("Serve: %v", err)
			}
		})
		return c, changes
	}
}

func do(t testing.TB, c *capture.Client, m capture.Message, files ...int) (capture.Message, []int, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	var reply capture.Message
	var got []int
	err := c.Do(ctx, m, files, func(m capture.Message, fds []int) { reply, got = m, fds })
	t.Cleanup(func() {
		for _, fd := range got {
			_ = unix.Close(fd)
		}
	})
	return reply, got, err
}

func TestRequests(t *testing.T) {
	s := start(t, capture.Config{})
	c, changes := s.dial()
	id := uuid.NewString()
	_, fds, err := do(t, c, capture.Message{Kind: capture.Open, ID: id})
	if err != nil || len(fds) != 6 {
		t.Fatalf("open: %d files, %v", len(fds), err)
	}
	if size, err := unix.FcntlInt(uintptr(fds[0]), unix.F_GETPIPE_SZ, 0); err != nil || os.Geteuid() == 0 && size != 1<<20 {
		t.Errorf("the pipe holds %d bytes, %v", size, err)
	}
	if _, err := unix.Write(fds[0], []byte("hello")); err != nil {
		t.Fatal(err)
	}
	until(t, changes, func(e capture.Entry) bool { return e.Stream == spool.Stdout && e.End == 5 && e.Live })
	list, _, err := do(t, c, capture.Message{Kind: capture.List})
	if err != nil || len(list.Entries) != 2 || list.Entries[0] != (capture.Entry{ID: id, Stream: spool.Stdout, End: 5, Live: true}) {
		t.Errorf("list: %+v, %v", list.Entries, err)
	}
	if got, files, err := do(t, c, capture.Message{Kind: capture.Attach, ID: id}); err != nil || len(files) != 4 ||
		!got.Mask.Has(spool.Stdout) || !got.Mask.Has(spool.Stderr) {
		t.Errorf("attach: %d files, %v", len(files), err)
	}
	if fds[1], err = -1, unix.Close(fds[1]); err != nil {
		t.Fatal(err)
	}
	until(t, changes, func(e capture.Entry) bool { return e.Stream == spool.Stderr && !e.Live })
	if _, _, err := do(t, c, capture.Message{Kind: capture.Forget, ID: id}); err != nil {
		t.Errorf("forget: %v", err)
	}
	if list, _, err := do(t, c, capture.Message{Kind: capture.List}); err != nil || len(list.Entries) != 0 {
		t.Errorf("list: %+v, %v", list.Entries, err)
	}
}

func until(t *testing.T, changes <-chan []capture.Entry, is func(capture.Entry) bool) {
	t.Helper()
	deadline := time.After(10 * time.Second)
	for {
		select {
		case entries := <-changes:
			for _, e := range entries {
				if is(e) {
					return
				}
			}
		case <-deadline:
			t.Fatal("not told")
		}
	}
}

func TestRefusals(t *testing.T) {
	s := start(t, capture.Config{})
	c, _ := s.dial()
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	both := capture.Mask(0).With(spool.Stdout).With(spool.Stderr)
	for _, m := range []capture.Message{
		{Kind: capture.Open},
		{Kind: capture.Changes},
		{Kind: capture.Restore, ID: uuid.NewString(), Mask: both},
	} {
		if _, _, err := do(t, c, m, int(null.Fd())); !errdefs.IsInvalidArgument(err) {
			t.Errorf("%+v: %v", m, err)
		}
	}
	if _, _, err := do(t, c, capture.Message{Kind: capture.List}); err != nil {
		t.Errorf("connection does not live on: %v", err)
	}
}

// TestMalformed: garbage costs the connection, and nothing else.
func TestMalformed(t *testing.T) {
	s := start(t, capture.Config{})
	c, _ := s.dial()
	id := uuid.NewString()
	_, fds, err := do(t, c, capture.Message{Kind: capture.Open, ID: id})
	if err != nil {
		t.Fatal(err)
	}
	for _, garbage := range []string{"x", strings.Repeat("y", 100_000), string(capture.Message{Kind: 99}.Append(nil))} {
		c, _ := s.dial()
		if err := c.SendRaw([]byte(garbage)); err != nil {
			t.Fatal(err)
		}
		if _, _, err := do(t, c, capture.Message{Kind: capture.List}); !errors.Is(err, capture.ErrClosed) {
			t.Errorf("after garbage: %v", err)
		}
	}
	if _, err := unix.Write(fds[0], []byte("still read")); err != nil {
		t.Fatal(err)
	}
	c, _ = s.dial()
	if list, _, err := do(t, c, capture.Message{Kind: capture.List}); err != nil || len(list.Entries) != 2 {
		t.Errorf("list: %+v, %v", list.Entries, err)
	}
}

func TestNewestConnectionWins(t *testing.T) {
	s := start(t, capture.Config{})
	older, _ := s.dial()
	newer, _ := s.dial()
	if _, _, err := do(t, newer, capture.Message{Kind: capture.List}); err != nil {
		t.Errorf("newer: %v", err)
	}
	if _, _, err := do(t, older, capture.Message{Kind: capture.List}); !errors.Is(err, capture.ErrClosed) {
		t.Errorf("older: %v", err)
	}
}

func TestListInPages(t *testing.T) {
	s := start(t, capture.Config{})
	c, _ := s.dial()
	const n = 520 // more than one reply holds
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil || limit.Cur < 8000 {
		t.Skip("too few open files allowed")
	}
	for range n {
		_, fds, err := do(t, c, capture.Message{Kind: capture.Open, ID: uuid.NewString()})
		if err != nil || len(fds) != 6 {
			t.Fatal(err)
		}
	}
	seen, after := 0, ""
	for {
		list, _, err := do(t, c, capture.Message{Kind: capture.List, ID: after})
		if err != nil {
			t.Fatal(err)
		}
		if len(list.Entries) == 0 {
			break
		}
		for _, e := range list.Entries {
			if e.ID < after {
				t.Fatalf("%s after %s", e.ID, after)
			}
			after = e.ID
		}
		seen += len(list.Entries)
	}
	if seen != 2*n {
		t.Errorf("%d streams listed, want %d", seen, 2*n)
	}
}

// TestThief reads its own pipe, as a dyno can: capture must not wait for the stolen bytes.
func TestThief(t *testing.T) {
	s := start(t, capture.Config{SpoolBytes: 64 << 10})
	c, changes := s.dial()
	_, fds, err := do(t, c, capture.Message{Kind: capture.Open, ID: uuid.NewString()})
	if err != nil {
		t.Fatal(err)
	}
	thief, err := unix.Open(fmt.Sprintf("/proc/self/fd/%d", fds[0]), unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close(thief) })
	stop := make(chan struct{})
	stolen := make(chan int, 1)
	go func() {
		buf, sum := make([]byte, 4096), 0
		for {
			select {
			case <-stop:
				stolen <- sum
				return
			default:
				if n, _ := unix.Read(thief, buf); n > 0 {
					sum += n
				}
			}
		}
	}()
	chunk := make([]byte, 32<<10)
	for range 200 {
		if _, err := unix.Write(fds[0], chunk); err != nil {
			t.Fatal(err)
		}
	}
	close(stop)
	t.Logf("%d bytes stolen", <-stolen)
	if _, err := unix.Write(fds[1], []byte("alive")); err != nil {
		t.Fatal(err)
	}
	until(t, changes, func(e capture.Entry) bool { return e.Stream == spool.Stderr && e.End == 5 })
}

func TestStartedProcess(t *testing.T) {
	log := filepath.Join(t.TempDir(), "log")
	var leaky [2]int
	if err := unix.Pipe(leaky[:]); err != nil { // as if inherited: without close-on-exec
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = unix.Close(leaky[0]), unix.Close(leaky[1]) })
	pid, err := capture.Start([]string{"/bin/sh", "-c", "exec ls -l /proc/self/fd >&2"}, log)
	if err != nil || pid <= 1 {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(10 * time.Second); !capture.Reap(pid); {
		if time.Now().After(deadline) {
			_ = syscall.Kill(pid, syscall.SIGKILL)
			t.Fatal("process does not end")
		}
	}
	if !capture.Reap(pid) {
		t.Error("a process that is gone counts as running")
	}
	b, err := os.ReadFile(log)
	if err != nil || strings.Count(string(b), "->") != 4 { // 0, 1, 2 and the directory itself
		t.Errorf("descriptors of the child: %s %v", b, err)
	}
}

// TestActivatedSocket takes the listener from somebody else, as from systemd, who keeps it.
func TestActivatedSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "capture.sock")
	l, err := net.ListenUnix("unixpacket", &net.UnixAddr{Name: path, Net: "unixpacket"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	spoolDir := t.TempDir()
	for range 2 {
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() {
			done <- capture.Run(ctx, capture.Config{Socket: path, SpoolDir: spoolDir}, l, slog.New(slog.DiscardHandler))
		}()
		s := &server{t: t, cfg: capture.Config{Socket: path}}
		c, _ := s.dial()
		if _, _, err := do(t, c, capture.Message{Kind: capture.List}); err != nil {
			t.Error(err)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

func FuzzParse(f *testing.F) {
	id := uuid.NewString()
	for _, m := range []capture.Message{
		{Kind: capture.Open, Seq: 7, ID: id},
		{Kind: capture.Reply, Code: capture.Internal, Text: "no"},
		{Kind: capture.Changes, Entries: []capture.Entry{{ID: id, Stream: spool.Stderr, End: 9, Live: true}}},
	} {
		f.Add(m.Append(nil))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := capture.Parse(b)
		if err != nil {
			if !errdefs.IsInvalidArgument(err) {
				t.Errorf("error of another class: %v", err)
			}
			return
		}
		if string(m.Append(nil)) != string(b) {
			t.Errorf("%x parsed as %+v", b, m)
		}
	})
}

// FuzzServe sends packets to a capture: whatever they are, it serves the next connection.
func FuzzServe(f *testing.F) {
	s := start(f, capture.Config{})
	id := uuid.NewString()
	for _, m := range []capture.Message{
		{Kind: capture.Open, Seq: 7, ID: id},
		{Kind: capture.Restore, ID: id, Mask: 6},
		{Kind: capture.Attach, ID: id},
		{Kind: capture.List},
		{Kind: capture.Forget, ID: id},
		{Kind: capture.Changes, Entries: []capture.Entry{{ID: id, Stream: spool.Stderr, End: 9, Live: true}}},
	} {
		f.Add(m.Append(nil), m.Append(nil))
	}
	f.Fuzz(func(t *testing.T, first, second []byte) {
		c, _ := (&server{t: t, cfg: s.cfg}).dial()
		_ = errors.Join(c.SendRaw(first), c.SendRaw(second))
		_, _, _ = do(t, c, capture.Message{Kind: capture.List}) // answered or not, both were read
		c, _ = (&server{t: t, cfg: s.cfg}).dial()
		list, _, err := do(t, c, capture.Message{Kind: capture.List})
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range list.Entries {
			if _, _, err := do(t, c, capture.Message{Kind: capture.Forget, ID: e.ID}); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// BenchmarkCapture writes lines of 100 bytes into one pipe and waits until all are in the spool.
func BenchmarkCapture(b *testing.B) {
	s := start(b, capture.Config{SpoolBytes: 1 << 40, SpoolDir: b.TempDir()})
	c, _ := s.dial()
	id := uuid.NewString()
	_, fds, err := do(b, c, capture.Message{Kind: capture.Open, ID: id})
	if err != nil {
		b.Fatal(err)
	}
	line := []byte(strings.Repeat("x", 99) + "\n")
	b.SetBytes(int64(len(line)))
	b.ResetTimer()
	for range b.N {
		if _, err := unix.Write(fds[0], line); err != nil {
			b.Fatal(err)
		}
	}
	for want := int64(b.N * len(line)); ; {
		tail, err := spool.Tail(filepath.Join(s.cfg.SpoolDir, id), spool.Stdout)
		if err != nil {
			b.Fatal(err)
		}
		if tail >= want {
			return
		}
	}
}
