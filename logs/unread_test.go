package logs_test

import (
	"errors"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dynod/dynod/logs"
)

// complaints counts lines of a log that are about something.
type complaints struct {
	about string
	n     atomic.Int64
}

func (c *complaints) Write(line []byte) (int, error) {
	if strings.Contains(string(line), c.about) {
		c.n.Add(1)
	}
	return len(line), nil
}

// TestSpoolThatCannotBeRead has the agent out of descriptors twice: shipper and receiver complain once each time, try
// again now and then, not all the time, and every line arrives.
func TestSpoolThatCannotBeRead(t *testing.T) {
	r, p := newReceiver(t), newPlex(t)
	h := newHost(t, r, func(c *logs.Config) { c.ReceiverCA = p.ca })
	log := complaints{about: "unreadable"}
	h.end()
	h.log = slog.NewTextHandler(&log, nil)
	h.begin()
	id := newID()
	h.receivers(id, p.receiver())
	pipes := h.open(id)
	numbered(t, pipes.Stdout, 0, 1)
	for outage := range int64(2) {
		if err := errors.Join(r.reach(h.ctx(), (outage+1)*100), p.reach(h.ctx(), outage+1)); err != nil {
			t.Fatal(err)
		}
		restore := withoutDescriptors(t)
		numbered(t, pipes.Stdout, int(outage)+1, 1)
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for end := time.Now().Add(20 * time.Second); log.n.Load() < 2*(outage+1) && time.Now().Before(end); {
			<-tick.C
		}
		begun, before := time.Now(), cpu(t)
		for time.Since(begun) < time.Second {
			<-tick.C
		}
		took, used := time.Since(begun), cpu(t)-before
		restore()
		if n := log.n.Load(); n != 2*(outage+1) || used > took/2 {
			t.Errorf("%d complaints, %s of the processor within %s", n, used, took)
		}
	}
	h.over(id, pipes)
	if got := r.of(id, logs.Stdout); len(got.lines) != 3 || got.lost != 0 {
		t.Errorf("upstream has %d lines, lost %d bytes", len(got.lines), got.lost)
	}
	if n := p.checkNumbers(); n != 3 || p.dropped+p.lost > 0 {
		t.Errorf("receiver has %d lines, was told of %d and %d missing", n, p.dropped, p.lost)
	}
}

// cpu is what this process has used of the processor.
func cpu(t *testing.T) time.Duration {
	t.Helper()
	var usage unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &usage); err != nil {
		t.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// withoutDescriptors lets this process open nothing until restore is called.
func withoutDescriptors(t *testing.T) (restore func()) {
	t.Helper()
	var before unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &before); err != nil {
		t.Fatal(err)
	}
	none := before
	none.Cur = 0
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &none); err != nil {
		t.Fatal(err)
	}
	restore = func() {
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &before); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(restore)
	return restore
}
