package capture_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"golang.org/x/sys/unix"

	"github.com/dynod/dynod/logs/capture"
	"github.com/dynod/dynod/logs/spool"
)

// naps counts how often threads of a process went to sleep.
func naps(t *testing.T, pid int) (sum int) {
	t.Helper()
	threads, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", pid))
	for _, path := range threads {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(b)) {
			var n int
			if _, err := fmt.Sscanf(line, "voluntary_ctxt_switches: %d", &n); err == nil {
				sum += n
			}
		}
	}
	return sum
}

// TestQuietCostsNothing: while nothing is said capture sleeps, but for the ticks of what looks for work to do.
func TestQuietCostsNothing(t *testing.T) {
	cfg := configured(t, func(c *capture.Config) { c.HostBytes, c.ReserveBytes = 1<<30, 1<<20 })
	p := spawn(t, cfg, newManager(t))
	c, _ := p.dial()
	for range 20 {
		out, errs := begin(t, c, uuid.NewString())
		defer func() { _, _ = unix.Close(out), unix.Close(errs) }()
		if _, err := unix.Write(out, []byte("a line\n")); err != nil {
			t.Fatal(err)
		}
	}
	pid := p.cmd.Process.Pid
	waitFor(t, "quiet", func() bool {
		before, used := naps(t, pid), cpuTime(t, pid)
		time.Sleep(time.Second)
		n := naps(t, pid) - before
		t.Logf("%d naps in a second, %v of CPU", n, cpuTime(t, pid)-used)
		return n <= 100 // 4 are usual, and 500 if the guard's timer does not stop
	})
}

// TestNoWalkWithoutNeed: as long as the spool is far from the host's bound nobody looks at the files of dynos that say nothing.
func TestNoWalkWithoutNeed(t *testing.T) {
	cfg := configured(t, func(c *capture.Config) { c.HostBytes = 1 << 30 })
	silent := spool.Dir(filepath.Join(cfg.SpoolDir, uuid.NewString()), spool.Stdout)
	if err := os.MkdirAll(silent, 0o700); err != nil {
		t.Fatal(err)
	}
	p := spawn(t, cfg, nil)
	c, changes := p.dial()
	id := uuid.NewString()
	out, errs := begin(t, c, id)
	defer func() { _, _ = unix.Close(out), unix.Close(errs) }()
	say := func(end int64) {
		if _, err := unix.Write(out, []byte("line\n")); err != nil {
			t.Fatal(err)
		}
		until(t, changes, func(e capture.Entry) bool { return e.ID == id && e.End == end })
	}
	say(5) // the walk at the beginning is over
	seen, err := unix.InotifyInit1(unix.IN_NONBLOCK | unix.IN_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(seen)
	if _, err := unix.InotifyAddWatch(seen, silent, unix.IN_OPEN); err != nil {
		t.Fatal(err)
	}
	for n := range int64(25) {
		time.Sleep(100 * time.Millisecond)
		say(10 + 5*n)
	}
	if n, err := unix.Read(seen, make([]byte, 4096)); err != unix.EAGAIN {
		t.Errorf("%d bytes tell of looks, %v", n, err)
	}
}
