package logs_test

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dynod/dynod/logs"
	"github.com/dynod/dynod/logs/spool"
)

// TestSegmentsStayWithoutACursor has everything delivered and the disk refuse the cursor: no segment may go, since an
// agent that is killed would begin before it.
func TestSegmentsStayWithoutACursor(t *testing.T) {
	r := newReceiver(t)
	var open atomic.Bool
	r.before = func(logs.Batch) error {
		if open.Load() {
			return nil
		}
		return errors.New("not now")
	}
	h := newHost(t, r, func(c *logs.Config) { c.SpoolBytes, c.KeepBytes = 1<<20, 1 })
	h.end()
	log := complaints{about: "spool not trimmed"}
	h.log = slog.NewTextHandler(&log, nil)
	h.begin()
	id := newID()
	p := h.open(id)
	const lines = 5000
	write(t, p.Stdout, strings.Repeat(strings.Repeat("x", 99)+"\n", lines))
	until(t, "capture", func() bool { return h.Backlog().Bytes == lines*100 })
	before := h.segments(id)
	cursor := filepath.Join(h.cfg.SpoolDir, id, "cursor")
	if err := os.MkdirAll(filepath.Join(cursor, "full"), 0o700); err != nil { // no file can take its place
		t.Fatal(err)
	}
	open.Store(true)
	if err := r.reach(h.ctx(), lines*100); err != nil {
		t.Fatal(err)
	}
	until(t, "a try to save the cursor", func() bool { return log.n.Load() > 0 })
	time.Sleep(2500 * time.Millisecond) // two more, of which it says nothing
	if now := h.segments(id); len(before) < 3 || len(now) != len(before) || now[0] != before[0] {
		t.Errorf("segments at %d, before at %d", now, before)
	}
	if err := os.RemoveAll(cursor); err != nil {
		t.Fatal(err)
	}
	until(t, "the segments to go", func() bool { return len(h.segments(id)) == 1 })
}

func (h *host) segments(id string) []int64 {
	h.t.Helper()
	l, err := spool.List(spool.Dir(filepath.Join(h.cfg.SpoolDir, id), spool.Stdout))
	if err != nil {
		h.t.Fatal(err)
	}
	return l.Segments
}

// until waits for something that comes without a sign.
func until(t testing.TB, what string, done func() bool) {
	t.Helper()
	for end := time.Now().Add(60 * time.Second); !done(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}
