package logs_test

import (
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dynod/dynod/logs"
)

// complaints counts lines of a log.
type complaints struct{ n atomic.Int64 }

func (c *complaints) Write(line []byte) (int, error) {
	if strings.Contains(string(line), "unreadable") {
		c.n.Add(1)
	}
	return len(line), nil
}

// TestSpoolThatCannotBeRead has the agent out of descriptors for a while: it tries again now and then, not all the time,
// and every line arrives.
func TestSpoolThatCannotBeRead(t *testing.T) {
	r, p := newReceiver(t), newPlex(t)
	h := newHost(t, r, func(c *logs.Config) { c.ReceiverCA = p.ca })
	var log complaints
	h.end()
	h.log = slog.NewTextHandler(&log, nil)
	h.begin()
	id := newID()
	h.receivers(id, p.receiver())
	pipes := h.open(id)
	numbered(t, pipes.Stdout, 0, 1)
	if err := r.reach(h.ctx(), 100); err != nil {
		t.Fatal(err)
	}
	restore := withoutDescriptors(t)
	numbered(t, pipes.Stdout, 1, 1)
	begun, tick := time.Now(), time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for log.n.Load() < 8 && time.Since(begun) < 20*time.Second {
		<-tick.C
	}
	took := time.Since(begun)
	restore()
	if took < 200*time.Millisecond || took > 20*time.Second {
		t.Errorf("%d complaints within %s", log.n.Load(), took)
	}
	h.over(id, pipes)
	if got := r.of(id, logs.Stdout); len(got.lines) != 2 || got.lost != 0 {
		t.Errorf("upstream has %d lines, lost %d bytes", len(got.lines), got.lost)
	}
	if n := p.checkNumbers(); n != 2 {
		t.Errorf("receiver has %d lines", n)
	}
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
