package logs_test

import (
	"context"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dynod/dynod/logs"
	"github.com/dynod/dynod/test/lab"
)

// TestShippedWaitsForCapture has a dyno end while capture does nothing: what it said last is delivered too, before it may be
// removed, also by an agent that has come since.
func TestShippedWaitsForCapture(t *testing.T) {
	for _, next := range []bool{false, true} {
		r := newReceiver(t)
		h := newHost(t, r, nil)
		id := newID()
		p := h.open(id)
		capture := h.capturePid()
		if err := lab.Freeze(h.ctx(), capture); err != nil {
			t.Fatal(err)
		}
		write(t, p.Stdout, "last words")
		p.Close()
		short, cancel := context.WithTimeout(h.ctx(), 50*time.Millisecond)
		defer cancel()
		if err := h.Drained(short, id); err == nil {
			t.Error("drained while nobody reads")
		}
		if next {
			h.end()
			h.begin()
		}
		h.Finish(id)
		time.AfterFunc(100*time.Millisecond, func() { _ = syscall.Kill(capture, syscall.SIGCONT) })
		if err := h.Shipped(h.ctx(), id); err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff([]string{"last words"}, texts(r.of(id, logs.Stdout).lines)); d != "" {
			t.Errorf("another agent %v: %s", next, d)
		}
	}
}
