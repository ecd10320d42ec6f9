package capture_test

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/google/uuid"
	"golang.org/x/sys/unix"

	"github.com/dynod/dynod/logs/capture"
	"github.com/dynod/dynod/logs/spool"
	"github.com/dynod/dynod/test/lab"
)

// hangFor is how long the disk hangs at least; no write of a dyno may take as long as half of it.
const hangFor = 8 * time.Second

// TestHangingDisk: while a write hangs dynos are not held up; every byte is kept, or counted at its place. So it is too if
// capture is killed then and, as long as the write hangs, cannot die, and if the write fails in the end.
func TestHangingDisk(t *testing.T) {
	for _, name := range []string{"hangs", "killed", "fails"} {
		t.Run(name, func(t *testing.T) {
			h := lab.NewHanging(t)
			m := newManager(t)
			cfg := configured(t, func(c *capture.Config) {
				c.SpoolDir, c.SpoolBytes, c.NotifySocket = filepath.Join(h.Dir, "spool"), 1<<30, m.socket
			})
			p := spawn(t, cfg, m)
			c, _ := p.dial()
			f := floodBy(t, c, talkProcess)
			f.reach(t, 300_000)
			h.Shut()
			t.Cleanup(h.Open) // before what waits for it is to end
			h.Hangs()
			began := time.Now()
			f.reach(t, 8<<20)
			if name == "killed" {
				p.wound()
				p = spawn(t, cfg, m)
				c, _ = p.dial()
				f.reach(t, 8<<20)
			}
			during := floodBy(t, c, talk) // begins while the disk hangs
			during.reach(t, 8<<20)
			time.Sleep(time.Until(began.Add(hangFor)))
			if name == "fails" {
				h.Break(true)
				f.reach(t, 1<<20)
				h.Break(false)
			}
			h.Open()
			for _, f := range []*flooding{f, during} {
				f.reach(t, 1<<20)
				f.end()
				_ = unix.Close(f.errs)
				over(t, c, f.id)
				spoolDir := filepath.Join(h.Backing, "spool")
				got := readStream(t, spoolDir, f.id, spool.Stdout)
				f.check(t, got)
				f.inPlace(t, spoolDir, f.id)
				if held := time.Duration(f.longest.Load()); held > hangFor/2 || got.lost == 0 || got.ends != 1 {
					t.Errorf("held up for %v, %d bytes lost, %d ends", held, got.lost, got.ends)
				}
			}
		})
	}
}

// TestStageOutlivesCapture: what is under way to a disk that hangs is kept, whoever dies, and so is what comes after it
// and has room in the pipe.
func TestStageOutlivesCapture(t *testing.T) {
	h := lab.NewHanging(t)
	m := newManager(t)
	cfg := configured(t, func(c *capture.Config) { c.SpoolDir, c.NotifySocket = filepath.Join(h.Dir, "spool"), m.socket })
	p := spawn(t, cfg, m)
	c, _ := p.dial()
	id := uuid.NewString()
	out, errs := begin(t, c, id)
	say := func(text string) {
		for _, fd := range []int{out, errs} {
			if _, err := unix.Write(fd, []byte(text)); err != nil {
				t.Fatal(err)
			}
		}
	}
	spoolDir := filepath.Join(h.Backing, "spool")
	say("before\n")
	waitFor(t, "both files", func() bool {
		return len(readStream(t, spoolDir, id, spool.Stdout).data) == 7 && len(readStream(t, spoolDir, id, spool.Stderr).data) == 7
	})
	h.Shut()
	t.Cleanup(h.Open)
	say("under way\n")
	h.Hangs()
	say("in the pipe\n")
	for range 3 {
		p.wound()
		p = spawn(t, cfg, m)
		c, _ = p.dial()
		say("while another capture waits\n")
		if _, _, err := do(t, c, capture.Message{Kind: capture.List}); err != nil { // it serves
			t.Fatal(err)
		}
	}
	if n := h.Waiting(); n != 1 {
		t.Errorf("%d operations are under way: a capture does not wait for the one before", n)
	}
	h.Open()
	_, _ = unix.Close(out), unix.Close(errs)
	over(t, c, id)
	want := "before\nunder way\nin the pipe\n" + strings.Repeat("while another capture waits\n", 3)
	for _, stream := range []spool.Stream{spool.Stdout, spool.Stderr} {
		got := readStream(t, spoolDir, id, stream)
		if string(got.data) != want || got.lost != 0 || got.ends != 1 {
			t.Errorf("%q and %d bytes lost, %d ends", got.data, got.lost, got.ends)
		}
	}
}

// TestNewLifeWhileDiskIsLate: a new life has to wait for a disk that may only be late: of the old one nothing is lost.
func TestNewLifeWhileDiskIsLate(t *testing.T) {
	for try := 1; ; try++ {
		if newLifeWhileDiskIsLate(t) {
			return
		}
		if try == 10 {
			t.Fatal("this machine is too slow to tell a late disk from one that hangs")
		}
	}
}

// newLifeWhileDiskIsLate is false if it took too long.
func newLifeWhileDiskIsLate(t *testing.T) bool {
	h := lab.NewHanging(t)
	cfg := configured(t, func(c *capture.Config) { c.SpoolDir = filepath.Join(h.Dir, "spool") })
	p := spawn(t, cfg, nil)
	c, _ := p.dial()
	id := uuid.NewString()
	out, errs := begin(t, c, id)
	spoolDir := filepath.Join(h.Backing, "spool")
	say := func(text string) {
		if _, err := unix.Write(out, []byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	say("before\n")
	waitFor(t, "a file", func() bool { return len(readStream(t, spoolDir, id, spool.Stdout).data) == 7 })
	h.Shut()
	t.Cleanup(h.Open)
	began := time.Now()
	say("under way\n")
	h.Hangs()
	say("in the pipe\n")
	_, _, err := do(t, c, capture.Message{Kind: capture.Open, ID: id})
	if time.Since(began) > 800*time.Millisecond {
		h.Open()
		_, _ = unix.Close(out), unix.Close(errs)
		return false
	}
	if !errdefs.IsUnavailable(err) {
		t.Errorf("while the disk is late: %v", err)
	}
	h.Open()
	waitFor(t, "a new life", func() bool {
		_, fds, err := do(t, c, capture.Message{Kind: capture.Open, ID: id})
		for _, fd := range fds {
			_ = unix.Close(fd)
		}
		return err == nil
	})
	_, _ = unix.Close(out), unix.Close(errs)
	over(t, c, id)
	if got := readStream(t, spoolDir, id, spool.Stdout); string(got.data) != "before\nunder way\nin the pipe\n" || got.lost != 0 {
		t.Errorf("%q and %d bytes lost", got.data, got.lost)
	}
	return true
}
