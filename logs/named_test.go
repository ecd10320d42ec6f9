package logs_test

import (
	"context"
	"log/slog"
	"net/http"
	"testing"
	"time"

	"github.com/dynod/dynod/logs"
)

// TestReceiverNamedBeforeRunKeepsItsLines has an agent come back that has the receiver's name from a dyno's record, and cannot lead
// the dyno for a while. Upstream has every line.
func TestReceiverNamedBeforeRunKeepsItsLines(t *testing.T) {
	r, slow := newReceiver(t), newPlex(t)
	h := newHost(t, r, func(c *logs.Config) { c.ReceiverCA, c.SpoolBytes, c.KeepBytes = slow.ca, 1<<20, 1 })
	id := newID()
	h.receivers(id, slow.receiver())
	slow.answer(func(int) int { return http.StatusServiceUnavailable })
	p := h.open(id)
	numbered(t, p.Stdout, 0, 5000)
	if err := r.reach(h.ctx(), 5000*100); err != nil {
		t.Fatal(err)
	}
	h.end()
	before := h.segments(id)
	l, err := logs.New(t.Context(), h.cfg, r, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	h.Logs = l
	h.receivers(id, slow.receiver())
	ctx, cancel := context.WithTimeout(t.Context(), 2500*time.Millisecond) // cursors are saved and segments go twice
	defer cancel()
	if err := l.Run(ctx); err != nil {
		t.Error(err)
	}
	if now := h.segments(id); len(before) < 3 || len(now) != len(before) || now[0] != before[0] {
		t.Errorf("segments at %d, before at %d", now, before)
	}
}
