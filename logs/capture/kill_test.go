package capture_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"github.com/google/uuid"
	"golang.org/x/sys/unix"

	"github.com/dynod/dynod/logs/capture"
	"github.com/dynod/dynod/logs/spool"
)

// talker writes numbered lines into a pipe, as fast as they are taken, and knows how long it was held up at most.
type talker struct {
	*counters
	fd   int
	done sync.WaitGroup
}

type counters struct {
	bytes, lines, longest atomic.Int64 // longest in nanoseconds
	stop                  atomic.Bool
}

func talk(t testing.TB, fd int) *talker {
	w := &talker{fd: fd, counters: &counters{}}
	w.done.Go(func() {
		if err := w.talk(fd); err != nil {
			t.Errorf("a dyno gets an error: %v", err)
		}
	})
	return w
}

// talkProcess has a process of its own talk.
func talkProcess(t testing.TB, fd int) *talker {
	t.Helper()
	path := filepath.Join(t.TempDir(), "counters")
	if err := os.WriteFile(path, make([]byte, unsafe.Sizeof(counters{})), 0o600); err != nil {
		t.Fatal(err)
	}
	w := &talker{fd: fd, counters: shared(path)}
	its, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	stdout := os.NewFile(uintptr(its), "stdout")
	defer stdout.Close()
	cmd := exec.Command(os.Args[0], "talk", path)
	cmd.Stdout, cmd.Stderr = stdout, os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	w.done.Go(func() {
		if err := cmd.Wait(); err != nil {
			t.Errorf("a dyno ends with %v", err)
		}
	})
	return w
}

// shared are counters in a file, for two processes; nil if there are none.
func shared(path string) *counters {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil
	}
	defer f.Close()
	mem, err := unix.Mmap(int(f.Fd()), 0, int(unsafe.Sizeof(counters{})), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil
	}
	return (*counters)(unsafe.Pointer(&mem[0]))
}

func (c *counters) talk(fd int) (err error) {
	for err == nil && !c.stop.Load() {
		err = c.say(fd)
	}
	return err
}

// lineOf is the n-th line of every talker.
func lineOf(n int64) []byte { return fmt.Appendf(nil, "%015d %0*d\n", n, 20+n%100, n) }

func (c *counters) say(fd int) error {
	line := lineOf(c.lines.Load())
	began := time.Now()
	n, err := unix.Write(fd, line)
	if took := int64(time.Since(began)); took > c.longest.Load() {
		c.longest.Store(took)
	}
	c.bytes.Add(int64(n))
	c.lines.Add(1)
	return err
}

// end closes the pipe.
func (w *talker) end() {
	w.stop.Store(true)
	w.done.Wait()
	_ = unix.Close(w.fd)
}

// reach waits until so many bytes more are written.
func (w *talker) reach(t testing.TB, more int64) {
	t.Helper()
	want, deadline := w.bytes.Load()+more, time.Now().Add(20*time.Second)
	for w.bytes.Load() < want {
		if time.Now().After(deadline) {
			t.Fatalf("a dyno is blocked: %d bytes of %d", w.bytes.Load(), want)
		}
		time.Sleep(100 * time.Microsecond)
	}
}

// check compares what is in the spool with what was written.
func (w *talker) check(t testing.TB, got stream) {
	t.Helper()
	if sum := int64(len(got.data)) + got.lost; sum != w.bytes.Load() {
		t.Errorf("%d bytes kept and %d lost are %d, written were %d", len(got.data), got.lost, sum, w.bytes.Load())
	}
	if sum := int64(bytes.Count(got.data, []byte{'\n'})) + got.lines; sum != w.lines.Load() {
		t.Errorf("%d lines kept or lost, written were %d", sum, w.lines.Load())
	}
	t.Logf("%d bytes kept, %d bytes with %d lines lost; held up %v at most",
		len(got.data), got.lost, got.lines, time.Duration(w.longest.Load()))
}

// inPlace compares every byte that is kept with the one that was written at its position.
func (w *talker) inPlace(t testing.TB, spoolDir, id string) {
	t.Helper()
	r := spool.NewReader(spool.Dir(filepath.Join(spoolDir, id), spool.Stdout), 0)
	defer r.Close()
	var written []byte
	buf := make([]byte, 1<<20)
	for n, at := int64(0), int64(0); ; {
		p, err := r.Next(buf)
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		size := len(p.Data) + int(p.Lost)
		for ; len(written) < size; n++ {
			written = append(written, lineOf(n)...)
		}
		if len(p.Data) > 0 && !bytes.Equal(p.Data, written[:size]) {
			t.Fatalf("of %d bytes at %d some are others than were written there", size, at)
		}
		written, at = written[size:], at+int64(size)
	}
}

// over waits until both streams of the dyno are at their ends.
func over(t testing.TB, c *capture.Client, id string) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); {
		list, _, err := do(t, c, capture.Message{Kind: capture.List})
		if err != nil {
			t.Fatal(err)
		}
		live := false
		for _, e := range list.Entries {
			live = live || e.ID == id
		}
		if !live {
			return
		}
	}
	t.Fatal("pipes do not end")
}

// configured is a capture with a spool of its own and the bounds that the test sets.
func configured(t testing.TB, set func(*capture.Config)) capture.Config {
	cfg := capture.Config{Socket: filepath.Join(t.TempDir(), "capture.sock"), SpoolDir: filepath.Join(t.TempDir(), "spool")}
	if set != nil {
		set(&cfg)
	}
	return cfg
}

// begin opens a dyno and closes the read ends here: only capture and the manager hold them.
func begin(t testing.TB, c *capture.Client, id string) (out, err int) {
	t.Helper()
	ctx := t.Context()
	var fds []int
	if err := c.Do(ctx, capture.Message{Kind: capture.Open, ID: id}, nil, func(_ capture.Message, got []int) { fds = got }); err != nil {
		t.Fatal(err)
	}
	for _, fd := range fds[2:] {
		_ = unix.Close(fd)
	}
	return fds[0], fds[1]
}

// TestKilledWithStore kills capture while a dyno writes; nobody but the service manager holds the pipes then. What is
// discarded over the bound is counted as exactly as what is kept.
func TestKilledWithStore(t *testing.T) {
	for name, bound := range map[string]int64{"kept": 1 << 40, "discarded": 256 << 10} {
		t.Run(name, func(t *testing.T) {
			m := newManager(t)
			cfg := configured(t, func(c *capture.Config) { c.SpoolBytes, c.SegmentBytes, c.NotifySocket = bound, 1<<20, m.socket })
			p := spawn(t, cfg, m)
			c, _ := p.dial()
			id := uuid.NewString()
			out, errs := begin(t, c, id)
			w := talk(t, out)
			for i := range kills() {
				w.reach(t, int64(i%7+1)*100_000)
				p.kill()
				if got := len(m.stored()); got != 4 {
					t.Fatalf("%d descriptors are kept, want 4", got)
				}
				p = spawn(t, cfg, m)
				if i%5 == 0 {
					p.dial()
				}
			}
			w.end()
			_ = unix.Close(errs)
			c, _ = p.dial()
			over(t, c, id)
			if left := m.stored(); len(left) != 0 {
				t.Errorf("descriptors of ended streams are kept: %v", left)
			}
			w.check(t, readStream(t, cfg.SpoolDir, id, spool.Stdout))
			w.inPlace(t, cfg.SpoolDir, id)
		})
	}
}

func kills() int {
	if testing.Short() {
		return 10
	}
	return 60
}
