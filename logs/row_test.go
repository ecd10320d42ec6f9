package logs_test

import (
	"context"
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dynod/dynod/logs"
	"github.com/dynod/dynod/logs/spool"
)

// orderly is a receiver that is closed at first, and keeps in which order bytes of a dyno come, over its streams.
type orderly struct {
	*receiver
	open atomic.Bool

	mu    sync.Mutex
	heard map[string]string // of each dyno: p of the platform, o of the app, for each kilobyte and what is left of one
}

func newOrderly(t *testing.T) *orderly {
	return &orderly{receiver: newReceiver(t), heard: map[string]string{}}
}

func (o *orderly) Send(ctx context.Context, b logs.Batch) (logs.Ack, error) {
	if !o.open.Load() {
		return logs.Ack{}, errors.New("closed")
	}
	ack, err := o.receiver.Send(ctx, b)
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, r := range b.Runs {
		if err == nil {
			o.heard[r.Dyno] += strings.Repeat(r.Stream.String()[:1], 1+len(r.Text)>>10)
		}
	}
	return ack, err
}

// check fails if a word of the platform came before the app's last one.
func (o *orderly) check(t *testing.T) {
	t.Helper()
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, heard := range o.heard {
		if strings.Index(heard, "p") < strings.LastIndex(heard, "o") {
			t.Errorf("the streams came as %s", heard)
		}
	}
}

// TestLastWordsGoBeforeTheEnd has an app say much and end at once: what the platform says of the end comes behind it.
func TestLastWordsGoBeforeTheEnd(t *testing.T) {
	sink := newOrderly(t)
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
	sink.check(t)
}

// TestLastWordsAfterTrouble has a batch fail while the next one is full of last words: they are read again, in their order.
func TestLastWordsAfterTrouble(t *testing.T) {
	sink := newOrderly(t)
	sink.open.Store(true)
	underWay, gate := make(chan struct{}), make(chan struct{})
	var first sync.Once
	sink.before = func(logs.Batch) (err error) {
		first.Do(func() {
			close(underWay)
			<-gate
			err = errors.New("the line broke")
		})
		return err
	}
	h := newHost(t, sink, nil)
	lives := map[string]logs.Pipes{}
	for range 8 {
		id := newID()
		lives[id] = h.open(id)
		write(t, lives[id].Stdout, "first\n")
	}
	<-underWay
	for id, pipes := range lives {
		write(t, pipes.Stdout, "last\n")
		pipes.Close()
		if err := h.Drained(h.ctx(), id); err != nil {
			t.Fatal(err)
		}
		if err := h.Platform(h.ctx(), id, time.Now(), "the end"); err != nil {
			t.Fatal(err)
		}
	}
	close(gate)
	for id, pipes := range lives {
		h.over(id, pipes)
	}
	sink.check(t)
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

// TestTurnsOfOneDyno: the app's words go before the platform's, whoever came first, and keep it waiting for a while only.
func TestTurnsOfOneDyno(t *testing.T) {
	want := []logs.Stream{logs.Stdout, logs.Stderr, logs.Platform}
	for _, came := range [][]logs.Stream{want, {logs.Platform, logs.Stderr, logs.Stdout}, {logs.Stderr, logs.Platform, logs.Stdout}} {
		if got := logs.Row(came...); !slices.Equal(got, want) {
			t.Errorf("%v had their turns as %v", came, got)
		}
	}
	if n := logs.Trickle(); n < 2 || n > 100 {
		t.Errorf("the platform waited for %d turns", n)
	}
}

// TestTurnsAfterTrouble: what is read again goes in its order, however much was read in a row before.
func TestTurnsAfterTrouble(t *testing.T) {
	if got := logs.Rewound(); !slices.Equal(got, []logs.Stream{logs.Stdout, logs.Platform}) {
		t.Errorf("read again as %v", got)
	}
}

// TestPlatformWaitsForLastWords: a turn of the platform brings nothing that came after it was given; one of the app brings all.
func TestPlatformWaitsForLastWords(t *testing.T) {
	const heard, since = "State changed from starting to up\n", "Process exited with status 0\n"
	for of, want := range map[logs.Stream]string{logs.Platform: heard, logs.Stdout: heard + since} {
		dir, id := t.TempDir(), newID()
		w, err := spool.OpenWriter(filepath.Join(dir, id), of, 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(w.Append([]byte(heard+since), time.Now()), w.Close()); err != nil {
			t.Fatal(err)
		}
		if got := logs.Turn(dir, id, of, int64(len(heard))); got != want {
			t.Errorf("%v: a turn brought %q", of, got)
		}
	}
}
