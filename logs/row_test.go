package logs_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dynod/dynod/logs"
)

// orderly is a receiver that is closed at first, and keeps in which order bytes of a dyno come, over its streams.
type orderly struct {
	*receiver
	open atomic.Bool

	mu    sync.Mutex
	heard strings.Builder // p of the platform, o of the app, for each kilobyte and what is left of one
}

func (o *orderly) Send(ctx context.Context, b logs.Batch) (logs.Ack, error) {
	if !o.open.Load() {
		return logs.Ack{}, errors.New("closed")
	}
	o.mu.Lock()
	for _, r := range b.Runs {
		o.heard.WriteString(strings.Repeat(r.Stream.String()[:1], 1+len(r.Text)>>10))
	}
	o.mu.Unlock()
	return o.receiver.Send(ctx, b)
}

// TestLastWordsGoBeforeTheEnd has an app say much and end at once: what the platform says of the end comes behind it.
func TestLastWordsGoBeforeTheEnd(t *testing.T) {
	sink := &orderly{receiver: newReceiver(t)}
	h := newHost(t, sink, nil)
	id := newID()
	pipes := h.open(id)
	const said = 40_000
	write(t, pipes.Stdout, strings.Repeat(strings.Repeat("x", 99)+"\n", said/100))
	h.captured(id, said)
	if err := h.Platform(h.ctx(), id, time.Now(), "the end"); err != nil {
		t.Fatal(err)
	}
	h.end() // the next agent finds both
	sink.open.Store(true)
	h.begin()
	h.over(id, pipes)
	sink.mu.Lock()
	defer sink.mu.Unlock()
	if heard := sink.heard.String(); strings.Index(heard, "p") < strings.LastIndex(heard, "o") {
		t.Errorf("the streams came as %s", heard)
	}
}

// TestNoWordBetween: what an app says while it is read goes before what the platform says after it.
func TestNoWordBetween(t *testing.T) {
	for _, c := range []struct {
		read            int
		more, overtaken bool
	}{{100, false, false}, {100, true, false}, {1 << 20, false, true}, {1 << 20, true, true}} {
		if got := logs.Overtaken(c.read, c.more); got != c.overtaken {
			t.Errorf("%d bytes read, more %v: overtaken %v", c.read, c.more, got)
		}
	}
}
