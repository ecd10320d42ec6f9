package capture_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/google/uuid"
	"golang.org/x/sys/unix"

	"github.com/dynod/dynod/logs/capture"
	"github.com/dynod/dynod/logs/spool"
)

// holder is a process of a dyno that holds a pipe: splice(2) into it waits for a socket that says nothing.
type holder struct {
	t      testing.TB
	cmd    *exec.Cmd
	socket *os.File // what is said here the holder moves into the pipe
}

// hold returns when the pipe is held.
func hold(t testing.TB, fd int) *holder {
	t.Helper()
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	h := &holder{t: t, cmd: exec.Command(os.Args[0], "hold"), socket: os.NewFile(uintptr(pair[0]), "socket")}
	stdin, stdout := os.NewFile(uintptr(pair[1]), "stdin"), os.NewFile(uintptr(theirs), "stdout")
	h.cmd.Stdin, h.cmd.Stdout, h.cmd.Stderr = stdin, stdout, os.Stderr
	if err := h.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_, _ = stdin.Close(), stdout.Close()
	t.Cleanup(func() { h.kill(); _ = h.socket.Close() })
	waitFor(t, "a held pipe", func() bool { // whichever thread its goroutine is on
		calls, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/syscall", h.cmd.Process.Pid))
		return slices.ContainsFunc(calls, func(path string) bool {
			b, _ := os.ReadFile(path)
			return strings.HasPrefix(string(b), fmt.Sprint(unix.SYS_SPLICE, " "))
		})
	})
	return h
}

// playHolder holds its standard output as long as its standard input says nothing, again and again.
func playHolder() {
	for {
		if n, err := unix.Splice(0, nil, 1, nil, 1<<16, 0); n <= 0 && err != unix.EINTR {
			return
		}
	}
}

// kill ends it, and so lets go of the pipe.
func (h *holder) kill() {
	_ = h.cmd.Process.Kill()
	_ = h.cmd.Wait()
}

// held is a dyno that has said something and holds both its pipes then.
type held struct {
	id      string
	out     int
	errs    int
	holders []*holder
}

const before = "before\n"

func beginHeld(t testing.TB, c *capture.Client) *held {
	t.Helper()
	h := &held{id: uuid.NewString()}
	h.out, h.errs = begin(t, c, h.id)
	for _, fd := range []int{h.out, h.errs} {
		h.holders = append(h.holders, hold(t, fd))
		h.say(before)
	}
	return h
}

// say has the holder that came last move something into the pipe.
func (h *held) say(text string) {
	last := h.holders[len(h.holders)-1]
	if _, err := last.socket.WriteString(text); err != nil {
		last.t.Fatal(err)
	}
}

func (h *held) end() {
	for _, holder := range h.holders {
		holder.kill()
	}
	_, _ = unix.Close(h.out), unix.Close(h.errs)
}

// TestHeldPipe: dynos that hold their pipes hold up nobody else, whatever is asked meanwhile, and when they are killed nothing
// of theirs is missing.
func TestHeldPipe(t *testing.T) {
	cfg := configured(t, func(c *capture.Config) { c.SpoolBytes = 1 << 30 })
	p := spawn(t, cfg, nil)
	c, _ := p.dial()
	f := floodBy(t, c, talkProcess)
	f.reach(t, 1<<20)
	var dynos []*held
	for range 5 {
		dynos = append(dynos, beginHeld(t, c))
		f.reach(t, 8<<20)
	}
	during := floodBy(t, c, talkProcess)
	during.reach(t, 8<<20)
	for _, h := range dynos {
		if _, _, err := do(t, c, capture.Message{Kind: capture.List}); err != nil {
			t.Errorf("list: %v", err)
		}
		if _, fds, err := do(t, c, capture.Message{Kind: capture.Attach, ID: h.id}); err != nil || len(fds) != 4 {
			t.Errorf("attach: %d files, %v", len(fds), err)
		}
		for _, kind := range []capture.Kind{capture.Open, capture.Forget} {
			if _, _, err := do(t, c, capture.Message{Kind: kind, ID: h.id}); !errdefs.IsUnavailable(err) {
				t.Errorf("request %d for a dyno that holds its pipes: %v", kind, err)
			}
		}
	}
	for _, h := range dynos {
		h.end()
		over(t, c, h.id)
		for _, stream := range []spool.Stream{spool.Stdout, spool.Stderr} {
			got := readStream(t, cfg.SpoolDir, h.id, stream)
			if string(got.data) != before || got.lost != 0 || got.ends != 1 {
				t.Errorf("%q and %d bytes lost, %d ends", got.data, got.lost, got.ends)
			}
		}
	}
	f.over(t, c, cfg)
	during.over(t, c, cfg)
	for _, h := range dynos {
		if _, _, err := do(t, c, capture.Message{Kind: capture.Forget, ID: h.id}); err != nil {
			t.Errorf("forget: %v", err)
		}
	}
}

// TestNeighbourOfAHolder: what was staged in the round in which the loop got stuck does not wait for another one.
func TestNeighbourOfAHolder(t *testing.T) {
	cfg := configured(t, nil)
	p := spawn(t, cfg, nil)
	c, _ := p.dial()
	id := uuid.NewString()
	out, errs := begin(t, c, id)
	defer func() { _, _ = unix.Close(out), unix.Close(errs) }()
	for said := len(before); said <= 20*len(before); said += len(before) {
		h := &held{id: uuid.NewString()}
		h.out, h.errs = begin(t, c, h.id)
		h.holders = append(h.holders, hold(t, h.out))
		time.Sleep(20 * time.Millisecond) // capture has nothing to do
		if _, err := unix.Write(out, []byte(before)); err != nil {
			t.Fatal(err)
		}
		h.say(before)
		waitFor(t, "the neighbour's line", func() bool {
			tail, err := spool.Tail(filepath.Join(cfg.SpoolDir, id), spool.Stdout)
			return err == nil && tail == int64(said)
		})
		h.end()
	}
}

// TestKilledWhileHeld: a capture that ends while a dyno holds its pipes cannot die, and may not be waited for. The one after it
// serves, and loses track of nothing.
func TestKilledWhileHeld(t *testing.T) {
	for _, name := range []string{"killed", "asked"} {
		t.Run(name, func(t *testing.T) {
			m := newManager(t)
			cfg := configured(t, func(c *capture.Config) { c.SpoolBytes, c.NotifySocket = 1<<30, m.socket })
			p := spawn(t, cfg, m)
			c, _ := p.dial()
			f := floodBy(t, c, talkProcess)
			h := beginHeld(t, c)
			f.reach(t, 8<<20)
			if name == "killed" {
				p.wound()
			} else {
				_ = p.cmd.Process.Signal(unix.SIGTERM)
				waitFor(t, "the end of all but what is held", func() bool { return capture.Dying(p.cmd.Process.Pid) })
			}
			p = spawn(t, cfg, m)
			c, _ = p.dial()
			f.reach(t, 8<<20)
			h.end()
			over(t, c, h.id)
			for _, stream := range []spool.Stream{spool.Stdout, spool.Stderr} {
				got := readStream(t, cfg.SpoolDir, h.id, stream)
				if string(got.data) != before || got.lost != 0 || got.ends != 1 {
					t.Errorf("%q and %d bytes lost, %d ends", got.data, got.lost, got.ends)
				}
			}
			got := f.over(t, c, cfg)
			if got.ends != 1 {
				t.Errorf("%d ends", got.ends)
			}
			f.inPlace(t, cfg.SpoolDir, f.id)
		})
	}
}

// TestVisitIsCalledOff: a capture that ends answers for nothing that it does later.
func TestVisitIsCalledOff(t *testing.T) {
	for _, called := range []bool{false, true} {
		var pipe, stage [2]int
		if err := errors.Join(unix.Pipe(pipe[:]), unix.Pipe(stage[:])); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			for _, fd := range append(pipe[:], stage[:]...) {
				_ = unix.Close(fd)
			}
		})
		if _, err := unix.Write(pipe[1], []byte(before)); err != nil {
			t.Fatal(err)
		}
		h := hold(t, pipe[1])
		pay, callOff := capture.PayVisit(pipe[0], stage[1])
		moved := make(chan int64, 1)
		go func() { moved <- pay() }()
		if called && !callOff() {
			t.Error("a visit that waits for the lock cannot be called off")
		}
		h.kill()
		if n := <-moved; (n == 0) != called {
			t.Errorf("%d bytes are moved, called off: %v", n, called)
		}
	}
}

// TestForgottenPipe: a pipe that others still hold and write into wakes nobody once its dyno is forgotten.
func TestForgottenPipe(t *testing.T) {
	p := spawn(t, configured(t, nil), nil)
	c, _ := p.dial()
	id := uuid.NewString()
	_, fds, err := do(t, c, capture.Message{Kind: capture.Open, ID: id})
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := do(t, c, capture.Message{Kind: capture.Forget, ID: id}); err != nil {
		t.Fatal(err)
	}
	if _, err := unix.Write(fds[0], []byte("nobody reads it\n")); err != nil {
		t.Fatal(err)
	}
	woken := func() (n int) {
		threads, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", p.cmd.Process.Pid))
		for _, path := range threads {
			b, _ := os.ReadFile(path)
			_, count, _ := strings.Cut(string(b), "\nvoluntary_ctxt_switches:")
			var switches int
			_, _ = fmt.Sscan(count, &switches)
			n += switches
		}
		return n
	}
	time.Sleep(100 * time.Millisecond) // what is under way
	before := woken()
	time.Sleep(time.Second)
	if n := woken() - before; n > 200 {
		t.Errorf("it wakes capture: %d times in a second", n)
	}
}
