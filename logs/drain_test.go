package logs_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"

	"github.com/dynod/dynod/logs"
	"github.com/dynod/dynod/logs/spool"
)

var from = logs.Origin{Host: "h1", Process: "web.1"}

// numbered writes lines of about 100 bytes with ascending numbers.
func numbered(t testing.TB, f *os.File, first, n int) {
	t.Helper()
	var chunk bytes.Buffer
	for i := first; i < first+n; i++ {
		fmt.Fprintf(&chunk, "%08d %s\n", i, strings.Repeat("x", 90))
	}
	if _, err := f.Write(chunk.Bytes()); err != nil {
		t.Errorf("write: %v", err)
	}
}

// checkNumbers sees that a plex has lines in order and none twice, and gives how many.
func (p *plex) checkNumbers() int64 {
	p.t.Helper()
	lines, _, _ := p.sum()
	last := -1
	for _, m := range lines {
		var n int
		if _, err := fmt.Sscanf(m.Message, "%d ", &n); err != nil || n <= last || len(m.Message) != 99 {
			p.t.Fatalf("%.40q (%v) after %d", m.Message, err, last)
		}
		last = n
	}
	return int64(len(lines))
}

func (h *host) receivers(id string, r ...logs.Receiver) {
	h.t.Helper()
	if err := h.SetReceivers(id, from, r); err != nil {
		h.t.Fatal(err)
	}
}

// TestReceiversEachHaveTheirCursor has one receiver away while the others go on, and the agent leave and come back.
func TestReceiversEachHaveTheirCursor(t *testing.T) {
	r := newReceiver(t)
	one, two := newPlex(t), newPlex(t)
	two.server.Config.Handler, one.server.Config.Handler = two, one
	ca := filepath.Join(t.TempDir(), "both.pem")
	joinFiles(t, ca, one.ca, two.ca)
	h := newHost(t, r, func(c *logs.Config) { c.ReceiverCA = ca })
	id := newID()
	h.receivers(id, one.receiver(), two.receiver())
	h.receivers(id, one.receiver(), two.receiver()) // changes nothing
	p := h.open(id)
	two.answer(func(int) int { return http.StatusServiceUnavailable })
	numbered(t, p.Stdout, 0, 1000)
	if err := one.reach(h.ctx(), 1000); err != nil {
		t.Fatal(err)
	}
	if err := r.reach(h.ctx(), 100_000); err != nil {
		t.Fatal(err)
	}
	h.end()
	numbered(t, p.Stdout, 1000, 1000)
	two.answer(nil)
	h.begin()
	h.receivers(id, one.receiver(), two.receiver())
	h.over(id, p)
	for _, p := range []*plex{one, two} {
		if n := p.checkNumbers(); n != 2000 || p.dropped+p.lost > 0 {
			t.Errorf("%d lines, %d dropped, %d lost", n, p.dropped, p.lost)
		}
	}
	if lines, _, _ := one.sum(); lines[0].Hostname != "h1" || lines[0].Process != "web.1" || lines[0].Application != "app" || lines[0].Priority != 190 {
		t.Errorf("%+v", lines[0])
	}
	if got := r.of(id, logs.Stdout); len(got.lines) != 2000 {
		t.Errorf("upstream has %d lines", len(got.lines))
	}
	all := h.Sinks(id)[1:]
	if len(all) != 2 || all[1].Lines != 2000 || all[0].Lines != 1000 || all[0].Bytes != 99_000 || all[0].Batches < 2 || all[1].Errors > 0 {
		t.Errorf("stats: %+v", all)
	}
}

// TestWaitingAfterAPowerCut: how far a stream went on behind its end is nothing that waits.
func TestWaitingAfterAPowerCut(t *testing.T) {
	r, p := newReceiver(t), newPlex(t)
	p.answer(func(int) int { return http.StatusServiceUnavailable })
	h := newHost(t, r, func(c *logs.Config) { c.ReceiverCA = p.ca })
	id := newID()
	h.receivers(id, p.receiver())
	pipes := h.open(id)
	numbered(t, pipes.Stdout, 0, 10)
	pipes.Close()
	if err := errors.Join(h.Drained(h.ctx(), id), r.reach(h.ctx(), 1000)); err != nil {
		t.Fatal(err)
	}
	h.end()
	h.kill(h.capturePid())
	boots, err := filepath.Glob(h.cfg.SpoolDir + "/boot-*")
	if err != nil || len(boots) != 1 {
		t.Fatalf("%q, %v", boots, err)
	}
	if err := os.Rename(boots[0], h.cfg.SpoolDir+"/boot-of-before"); err != nil {
		t.Fatal(err)
	}
	h.begin()
	h.receivers(id, p.receiver())
	for _, s := range h.Sinks(id) {
		if s.Waiting > 1000 || s.Kind != logs.Upstream && s.Waiting != 1000 {
			t.Errorf("%d bytes wait for %s", s.Waiting, s.Kind)
		}
	}
	if a := h.Account(); a.Captured != 0 || a.Backlog.Bytes != 0 || a.Sinks[logs.Upstream].Dropped != 0 {
		t.Errorf("account: %+v", a)
	}
}

func joinFiles(t *testing.T, to string, from ...string) {
	t.Helper()
	var all []byte
	for _, path := range from {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, b...)
	}
	if err := os.WriteFile(to, all, 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestKindsOfLines has one line of each kind.
func TestKindsOfLines(t *testing.T) {
	p := newPlex(t)
	h := newHost(t, nil, func(c *logs.Config) { c.ReceiverCA = p.ca })
	id := newID()
	h.receivers(id, p.receiver())
	pipes := h.open(id)
	const metrics = "source=web.1 dyno=heroku.1.2 sample#load_avg_1m=2.46"
	write(t, pipes.Stdout, metrics+"\n") // says the dyno
	if err := p.reach(h.ctx(), 1); err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{metrics, "State changed from starting to up"} {
		if err := h.Platform(h.ctx(), id, time.Now(), line); err != nil {
			t.Fatal(err)
		}
	}
	h.over(id, pipes)
	lines, _, _ := p.sum()
	var got []string
	for _, m := range lines {
		got = append(got, fmt.Sprintf("%d %s", m.Priority, m.Application))
	}
	if fmt.Sprint(got) != "[190 app 134 heroku 45 heroku]" {
		t.Errorf("%q", got)
	}
}

// TestLaggingReceiver has a receiver that takes nothing while several times the spool's bound goes by, which is the dyno's
// or the host's: the upstream loses no byte, and the receiver is told to the line what it missed.
func TestLaggingReceiver(t *testing.T) {
	// Capture looks at a dyno's spool every 50 ms, and adds up that of the host, of which half is shared out, every second.
	t.Run("dyno's bound", func(t *testing.T) { lag(t, 1<<20, 0, 160, 20*time.Millisecond) })
	t.Run("host's bound", func(t *testing.T) { lag(t, 2<<20, 2<<20, 60, 100*time.Millisecond) })
}

func lag(t *testing.T, dynoBound, hostBound int64, steps int, every time.Duration) {
	r, p := newReceiver(t), newPlex(t)
	gate := make(chan struct{})
	p.answer(func(request int) int {
		select {
		case <-gate:
			return http.StatusOK
		default:
			return http.StatusBadGateway
		}
	})
	h := newHost(t, r, func(c *logs.Config) {
		c.ReceiverCA, c.SpoolBytes, c.HostBytes, c.KeepBytes = p.ca, dynoBound, hostBound, 64<<10
	})
	id := newID()
	h.receivers(id, p.receiver())
	pipes := h.open(id)
	const step = 500
	pace := time.NewTicker(every)
	defer pace.Stop()
	for i := range steps {
		<-pace.C
		numbered(t, pipes.Stdout, i*step, step)
		h.captured(id, int64(i+1)*step*100)
		h.shrinks(id, 800_000)
		if i == steps/2 { // what is counted survives
			if err := r.reach(h.ctx(), int64(i+1)*step*100); err != nil {
				t.Fatal(err)
			}
			h.end()
			h.begin()
			h.receivers(id, p.receiver())
		}
	}
	close(gate)
	h.over(id, pipes)
	if got := r.of(id, logs.Stdout); got.lost != 0 || len(got.lines) != step*steps {
		t.Errorf("upstream has %d lines, lost %d bytes", len(got.lines), got.lost)
	}
	n := p.checkNumbers()
	if p.dropped == 0 || n+p.dropped != int64(step*steps) || p.lost != 0 {
		t.Errorf("receiver has %d lines, was told of %d dropped and %d lost, of %d", n, p.dropped, p.lost, step*steps)
	}
	t.Logf("receiver has %d lines, was told of %d dropped", n, p.dropped)
}

// captured waits until so many bytes of a dyno's output left its pipe.
func (h *host) captured(id string, bytes int64) {
	h.t.Helper()
	for ctx := h.ctx(); ; time.Sleep(time.Millisecond) {
		tail, err := spool.Tail(filepath.Join(h.cfg.SpoolDir, id), logs.Stdout)
		if err == nil && tail >= bytes {
			return
		}
		if ctx.Err() != nil {
			h.t.Fatalf("%d bytes of %d captured: %v", tail, bytes, err)
		}
	}
}

// shrinks waits until a dyno's spool is no larger than this.
func (h *host) shrinks(id string, bytes int64) {
	h.t.Helper()
	for ctx := h.ctx(); ; time.Sleep(5 * time.Millisecond) {
		used, err := spool.Usage(filepath.Join(h.cfg.SpoolDir, id))
		if err == nil && used <= bytes {
			return
		}
		if ctx.Err() != nil {
			h.t.Fatalf("%d bytes stay: %v", used, err)
		}
	}
}

// TestRefusedBatches has every third request refused for good, and some for now.
func TestRefusedBatches(t *testing.T) {
	p := newPlex(t)
	p.answer(func(request int) int {
		switch request % 4 {
		case 1:
			return http.StatusForbidden
		case 2:
			return http.StatusTooManyRequests
		}
		return http.StatusOK
	})
	h := newHost(t, nil, func(c *logs.Config) { c.ReceiverCA = p.ca })
	id := newID()
	h.receivers(id, p.receiver())
	pipes := h.open(id)
	numbered(t, pipes.Stdout, 0, 6000)
	h.over(id, pipes)
	n := p.checkNumbers()
	if p.lost == 0 || p.dropped != 0 || n+p.lost != 6000 {
		t.Errorf("receiver has %d lines, was told of %d lost and %d dropped", n, p.lost, p.dropped)
	}
	if all := h.Sinks(id)[1:]; all[0].Lost != p.lost || all[0].Lines != n || all[0].Errors == 0 {
		t.Errorf("stats: %+v", all)
	}
}

// TestHoleIsToldAtItsPlace has bytes missing in the middle of a stream and at its end: what is known of them is told
// at the beginning of a batch (plex holds it to that) between the lines around them.
func TestHoleIsToldAtItsPlace(t *testing.T) {
	p := newPlex(t)
	h := newHost(t, nil, func(c *logs.Config) { c.ReceiverCA = p.ca })
	h.end()
	id := newID()
	w, err := spool.OpenWriter(filepath.Join(h.cfg.SpoolDir, id), logs.Stdout, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	write := func(text string) {
		if err := w.Append([]byte(text), morning); err != nil {
			t.Fatal(err)
		}
	}
	write("1\n2\n")
	w.Skip(spool.Lost{From: w.Offset(), Lines: 5, Since: morning}, w.Offset()+500)
	write("3\n4\n")
	w.Skip(spool.Lost{From: w.Offset()}, w.Offset()+500) // nobody counted
	if err := errors.Join(w.End(), w.Close()); err != nil {
		t.Fatal(err)
	}
	h.begin()
	h.receivers(id, p.receiver())
	h.Finish(id)
	if err := p.reach(h.ctx(), 4+5+1); err != nil {
		t.Fatal(err)
	}
	if err := h.Shipped(h.ctx(), id); err != nil {
		t.Fatal(err)
	}
	lines, dropped, lost := p.sum()
	if len(lines) != 4 || lines[3].Message != "4" || dropped != 6 || lost != 0 || p.taken != 3 {
		t.Errorf("%+v, %d dropped, %d lost, %d batches", lines, dropped, lost, p.taken)
	}
	if all := h.Sinks(id)[1:]; all[0].Dropped != 6 || all[0].Lines != 4 {
		t.Errorf("stats: %+v", all)
	}
}

// TestReceiverIsGivenUp has one that never takes anything hold a finished dyno for a bounded time.
func TestReceiverIsGivenUp(t *testing.T) {
	p := newPlex(t)
	p.answer(func(int) int { return http.StatusInternalServerError })
	h := newHost(t, newReceiver(t), func(c *logs.Config) { c.ReceiverCA, c.ReceiverWait = p.ca, 300*time.Millisecond })
	id := newID()
	h.receivers(id, p.receiver())
	pipes := h.open(id)
	numbered(t, pipes.Stdout, 0, 700)
	begun := time.Now()
	h.over(id, pipes)
	if waited := time.Since(begun); waited < 300*time.Millisecond || waited > 20*time.Second {
		t.Errorf("waited %s", waited)
	}
	if all := h.Sinks(id)[1:]; all[0].Lost != 700 || all[0].Lines != 0 {
		t.Errorf("stats: %+v", all)
	}
	if err := h.Remove(h.ctx(), id); err != nil {
		t.Error(err)
	}
	if gone := h.Account(); gone.Sinks[logs.Logplex].Lost != 700 || gone.Sinks[logs.Logplex].Receivers != 0 || gone.Captured == 0 {
		t.Errorf("the account forgets with the dyno: %+v", gone)
	}
}

// TestCountingHoldsNobodyUp has a receiver that is given up with a quarter of a million lines to count, while others ask for what is
// guarded by the same locks. Of some rounds one must go well: a loaded machine may hold anybody up.
func TestCountingHoldsNobodyUp(t *testing.T) {
	p := newPlex(t)
	p.answer(func(int) int { return http.StatusServiceUnavailable })
	h := newHost(t, nil, func(c *logs.Config) { c.ReceiverCA, c.ReceiverWait = p.ca, time.Millisecond })
	const lines = 1 << 18
	var longest, took time.Duration
	for range 5 {
		id := newID()
		dir := filepath.Join(h.cfg.SpoolDir, id)
		w, err := spool.OpenWriter(dir, logs.Stdout, lines)
		if err != nil {
			t.Fatal(err)
		}
		err = errors.Join(w.Append(bytes.Repeat([]byte("\n"), lines), morning), w.Close(), spool.Cursor{logs.Stdout: lines}.Store(dir))
		if err != nil {
			t.Fatal(err)
		}
		h.receivers(id, p.receiver())
		if longest, took = h.giveUp(id); longest < took/4 {
			return
		}
	}
	t.Errorf("of %s others were held up for %s", took, longest)
}

// giveUp waits for a dyno with receivers that take nothing, and tells how long others had to wait meanwhile.
func (h *host) giveUp(id string) (longest, took time.Duration) {
	h.t.Helper()
	h.Finish(id)
	pause := time.NewTicker(time.Millisecond)
	defer pause.Stop()
	begun, shipped := time.Now(), make(chan error, 1)
	go func() { shipped <- h.Shipped(h.ctx(), id) }()
	hasty, cancel := context.WithCancel(h.ctx())
	cancel()
	for {
		select {
		case err := <-shipped:
			if err != nil {
				h.t.Fatal(err)
			}
			return longest, time.Since(begun)
		case <-pause.C:
			asked := time.Now()
			_ = h.Shipped(hasty, id) // looks once
			longest = max(longest, time.Since(asked))
		}
	}
}

// TestDamageIsToldToReceivers has a segment torn and the receiver's own file damaged while the agent is away: the lines
// that are left arrive, the hole is told, and nothing stops.
func TestDamageIsToldToReceivers(t *testing.T) {
	p := newPlex(t)
	h := newHost(t, nil, func(c *logs.Config) { c.ReceiverCA = p.ca })
	h.end()
	id := newID()
	dir := filepath.Join(h.cfg.SpoolDir, id)
	w, err := spool.OpenWriter(dir, logs.Stdout, 1000)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 30 {
		if err := w.Append(fmt.Appendf(nil, "%08d %s\n", i, strings.Repeat("x", 90)), morning); err != nil {
			t.Fatal(err)
		}
	}
	err = errors.Join(w.Close(), os.WriteFile(filepath.Join(dir, "cursor-1"), []byte("receiver 1 77"), 0o600),
		os.Truncate(filepath.Join(spool.Dir(dir, logs.Stdout), fmt.Sprintf("%016x.seg", 1000)), 500))
	if err != nil {
		t.Fatal(err)
	}
	h.begin()
	h.receivers(id, p.receiver())
	h.Finish(id)
	if err := h.Shipped(h.ctx(), id); err != nil {
		t.Fatal(err)
	}
	if n := p.checkNumbers(); n != 25 || p.dropped != 1 || p.lost != 0 { // nobody knows how many lines it held
		t.Errorf("receiver has %d lines, was told of %d dropped, %d lost", n, p.dropped, p.lost)
	}
	if all := h.Sinks(id)[1:]; all[0].Dropped != 1 || all[0].Lines != 25 {
		t.Errorf("stats: %+v", all)
	}
}

func TestBadReceivers(t *testing.T) {
	h := newHost(t, nil, nil)
	for _, url := range []string{"http://hidden.example", "%hidden", "unix:///hidden"} {
		err := h.SetReceivers(newID(), from, []logs.Receiver{{URL: url}})
		if !errdefs.IsInvalidArgument(err) || strings.Contains(err.Error(), "hidden") {
			t.Errorf("%s: %v", url, err)
		}
	}
	many := make([]logs.Receiver, logs.MaxReceivers+1)
	for i := range many {
		many[i].URL = "https://hidden.example"
	}
	if err := h.SetReceivers(newID(), from, many); !errdefs.IsInvalidArgument(err) {
		t.Errorf("one too many: %v", err)
	}
	if err := h.SetReceivers("x", from, nil); !errdefs.IsInvalidArgument(err) {
		t.Error(err)
	}
}
