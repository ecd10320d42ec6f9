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
		return n <= 10
	})
}
