package logs_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"

	"github.com/dynod/dynod/logs"
	"github.com/dynod/dynod/logs/capture"
)

func texts(lines []logs.Line) []string {
	var all []string
	for _, l := range lines {
		text := string(l.Text)
		if l.Continued {
			text += "…"
		}
		all = append(all, text)
	}
	return all
}

func TestLinesArriveExactly(t *testing.T) {
	r := newReceiver(t)
	h := newHost(t, r, nil)
	id := newID()
	p := h.open(id)
	long := strings.Repeat("x", 10_000)
	out := "one\n\n\x00\xff\x1b[31m\r\ntwo\n" + long + "\n" + long + "y\n" + long + long + "\nno newline"
	for _, c := range []byte(out[:20]) { // single bytes first
		write(t, p.Stdout, string([]byte{c}))
	}
	write(t, p.Stdout, out[20:])
	write(t, p.Stderr, "mistake\n")
	h.over(id, p)
	got := r.of(id, logs.Stdout)
	want := []string{"one", "", "\x00\xff\x1b[31m\r", "two", long, long + "…", "y", long + "…", long, "no newline"}
	if d := cmp.Diff(want, texts(got.lines)); d != "" {
		t.Error(d)
	}
	if string(got.bytes) != out {
		t.Errorf("bytes differ: %d of %d", len(got.bytes), len(out))
	}
	if d := cmp.Diff([]string{"mistake"}, texts(r.of(id, logs.Stderr).lines)); d != "" {
		t.Error(d)
	}
	for _, l := range got.lines {
		if age := time.Since(l.Time); age < 0 || age > time.Minute {
			t.Errorf("line read at %v", l.Time)
		}
	}
}

func TestLivesGoOnInOneStream(t *testing.T) {
	r := newReceiver(t)
	h := newHost(t, r, nil)
	id := newID()
	for i := range 5 {
		p := h.open(id)
		write(t, p.Stdout, fmt.Sprintf("life %d", i))
		p.Close()
		if err := h.Drained(h.ctx(), id); err != nil {
			t.Fatal(err)
		}
		if i == 2 {
			h.end()
			h.begin()
		}
	}
	h.over(id, logs.Pipes{})
	if d := cmp.Diff([]string{"life 0", "life 1", "life 2", "life 3", "life 4"}, texts(r.of(id, logs.Stdout).lines)); d != "" {
		t.Error(d)
	}
}

func TestOpenEndsAnOlderLife(t *testing.T) {
	r := newReceiver(t)
	h := newHost(t, r, nil)
	id := newID()
	old := h.open(id)
	write(t, old.Stdout, "before")
	p := h.open(id) // old is still open
	write(t, p.Stdout, "after\n")
	h.over(id, p)
	if d := cmp.Diff([]string{"before", "after"}, texts(r.of(id, logs.Stdout).lines)); d != "" {
		t.Error(d)
	}
}

// TestRestore has both capture and agent gone; only the read ends that dyno-init would hold are left.
func TestRestore(t *testing.T) {
	r := newReceiver(t)
	h := newHost(t, r, nil)
	id := newID()
	p := h.open(id)
	write(t, p.Stdout, "one\n")
	h.end()
	h.kill(h.capturePid())
	write(t, p.Stdout, "two\n")
	write(t, p.Stderr, "three\n")
	h.begin()
	if holds, err := h.Holds(h.ctx(), id); err != nil || holds {
		t.Fatalf("Holds before Restore: %v, %v", holds, err)
	}
	for range 2 {
		if err := h.Restore(h.ctx(), id, p.Keep); err != nil {
			t.Fatal(err)
		}
	}
	if holds, err := h.Holds(h.ctx(), id); err != nil || !holds {
		t.Fatalf("Holds after Restore: %v, %v", holds, err)
	}
	write(t, p.Stdout, "four\n")
	h.over(id, p)
	if d := cmp.Diff([]string{"one", "two", "four"}, texts(r.of(id, logs.Stdout).lines)); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff([]string{"three"}, texts(r.of(id, logs.Stderr).lines)); d != "" {
		t.Error(d)
	}
}

// TestRestoreGoesOn has an agent killed after it restored one of a dyno's two streams.
func TestRestoreGoesOn(t *testing.T) {
	r := newReceiver(t)
	h := newHost(t, r, nil)
	id := newID()
	p := h.open(id)
	h.end()
	h.kill(h.capturePid())
	h.begin()
	if err := h.RestoreStdout(h.ctx(), id, p.Keep); err != nil {
		t.Fatal(err)
	}
	h.end()
	write(t, p.Stdout, "one\n")
	write(t, p.Stderr, "two\n")
	h.begin()
	if err := h.Restore(h.ctx(), id, p.Keep); err != nil {
		t.Fatal(err)
	}
	h.over(id, p)
	if d := cmp.Diff([]string{"one"}, texts(r.of(id, logs.Stdout).lines)); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff([]string{"two"}, texts(r.of(id, logs.Stderr).lines)); d != "" {
		t.Error(d)
	}
}

// TestRestoreIsRefused has capture out of descriptors, say: to ask again asks it again.
func TestRestoreIsRefused(t *testing.T) {
	asked, refused := make(chan capture.Mask, 10), false
	_, h := newFake(t, func(m capture.Message) (reply capture.Message, with []int) {
		if m.Kind == capture.Restore {
			if asked <- m.Mask; !refused {
				reply.Code, refused = capture.Unavailable, true
			}
		}
		return reply, nil
	})
	var kept []*os.File
	for range 2 {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _, _ = r.Close(), w.Close() })
		kept = append(kept, r)
	}
	id := newID()
	if err := h.Restore(h.ctx(), id, kept); !errdefs.IsUnavailable(err) {
		t.Errorf("Restore: %v", err)
	}
	for range 2 {
		if err := h.Restore(h.ctx(), id, kept); err != nil {
			t.Errorf("Restore: %v", err)
		}
	}
	out, errs := capture.Mask(0).With(logs.Stdout), capture.Mask(0).With(logs.Stderr)
	var all []capture.Mask
	for len(asked) > 0 {
		all = append(all, <-asked)
	}
	if !slices.Equal(all, []capture.Mask{out, out, errs}) {
		t.Errorf("asked for %b", all)
	}
}

func TestAgentComesBack(t *testing.T) {
	r := newReceiver(t)
	h := newHost(t, r, nil)
	id := newID()
	p := h.open(id)
	h.end()
	write(t, p.Stdout, "meanwhile\n")
	h.begin()
	if holds, err := h.Holds(h.ctx(), id); err != nil || !holds {
		t.Fatalf("Holds: %v, %v", holds, err)
	}
	short, cancel := context.WithTimeout(h.ctx(), 50*time.Millisecond)
	defer cancel()
	if err := h.Drained(short, id); err == nil {
		t.Error("drained with a writer")
	}
	h.over(id, p)
	if d := cmp.Diff([]string{"meanwhile"}, texts(r.of(id, logs.Stdout).lines)); d != "" {
		t.Error(d)
	}
	if b := h.Backlog(); b != (logs.Backlog{}) {
		t.Errorf("backlog %+v", b)
	}
}

// TestBoundDropsAndCounts fills a small spool while nothing is delivered: the writer never blocks, and what came
// through and what is told as lost make up what was written.
func TestBoundDropsAndCounts(t *testing.T) {
	r := newReceiver(t)
	gate := make(chan struct{})
	r.before = func(logs.Batch) error { <-gate; return nil }
	h := newHost(t, r, func(c *logs.Config) { c.SpoolBytes = 1 << 20 })
	id := newID()
	p := h.open(id)
	line := strings.Repeat("z", 99) + "\n"
	const written = 8 << 20
	for range written / len(line) / 64 {
		write(t, p.Stdout, strings.Repeat(line, 64))
	}
	p.Close()
	if err := h.Drained(h.ctx(), id); err != nil {
		t.Fatal(err)
	}
	if size := diskUsage(t, h.cfg.SpoolDir); size > 2<<20 {
		t.Errorf("spool of %d bytes", size)
	}
	close(gate)
	h.over(id, p)
	got := r.of(id, logs.Stdout)
	want := int64(written / len(line) / 64 * 64 * len(line))
	if got.lost == 0 || got.lost+int64(len(got.bytes)) != want || got.next != want {
		t.Errorf("received %d and lost %d of %d", len(got.bytes), got.lost, want)
	}
}

func diskUsage(t *testing.T, dir string) (sum int64) {
	t.Helper()
	err := filepath.WalkDir(dir, func(_ string, e os.DirEntry, err error) error {
		if err == nil && !e.IsDir() {
			var fi os.FileInfo
			if fi, err = e.Info(); err == nil {
				sum += fi.Size()
			}
		}
		if errors.Is(err, fs.ErrNotExist) { // trimmed meanwhile
			return nil
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return sum
}

// TestTrim has much delivered: little of it stays, and a restart does not send it again.
func TestTrim(t *testing.T) {
	r := newReceiver(t)
	h := newHost(t, r, func(c *logs.Config) { c.SpoolBytes, c.KeepBytes = 4<<20, 256<<10 })
	id := newID()
	p := h.open(id)
	f := &flood{id: id, stream: logs.Stdout, file: p.Stdout, window: 1 << 20}
	ctx, cancel := context.WithCancel(h.ctx())
	done := make(chan error, 1)
	go func() { done <- f.run(ctx, r) }()
	if err := r.reach(h.ctx(), 6<<20); err != nil {
		t.Fatal(err)
	}
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	h.over(id, p)
	h.end()
	if size := diskUsage(t, h.cfg.SpoolDir); size > 1<<20 || size < 256<<10 {
		t.Errorf("%d bytes stay", size)
	}
	sent := r.sum()
	h.begin()
	if err := h.Shipped(h.ctx(), id); err != nil {
		t.Fatal(err)
	}
	if r.sum() != sent {
		t.Errorf("sent %d bytes again", r.sum()-sent)
	}
	lines := read(t, h, id, logs.ReadOptions{Tail: -1})
	last := fmt.Sprintf("out line %08d of a dyno that has much to say", f.lines-1)
	if len(lines) == 0 || string(lines[len(lines)-1].Text) != last || !bytes.HasPrefix(lines[0].Text, []byte("out line ")) {
		t.Errorf("%d lines readable", len(lines))
	}
}

func read(t *testing.T, h *host, id string, o logs.ReadOptions) []logs.Line {
	t.Helper()
	var lines []logs.Line
	for line, err := range h.Read(h.ctx(), id, o) {
		if err != nil {
			t.Fatal(err)
		}
		lines = append(lines, line)
	}
	return lines
}

func TestRead(t *testing.T) {
	h := newHost(t, nil, nil)
	id := newID()
	start := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for i := range 10 {
		if err := h.Platform(h.ctx(), id, start.Add(time.Duration(i)*time.Minute), fmt.Sprintf("line\n%d", i)); err != nil {
			t.Fatal(err)
		}
	}
	p := h.open(id)
	write(t, p.Stdout, "out\n")
	h.over(id, p)
	all := texts(read(t, h, id, logs.ReadOptions{Tail: -1}))
	if len(all) != 11 || all[0] != `line\n0` || all[10] != "out" {
		t.Errorf("all: %q", all)
	}
	if got := texts(read(t, h, id, logs.ReadOptions{Tail: 3})); !slices.Equal(got, all[8:]) {
		t.Errorf("tail: %q", got)
	}
	if got := texts(read(t, h, id, logs.ReadOptions{Tail: 0})); len(got) != 0 {
		t.Errorf("tail of none: %q", got)
	}
	if got := texts(read(t, h, id, logs.ReadOptions{Tail: -1, Since: start.Add(8 * time.Minute)})); !slices.Equal(got, all[8:]) {
		t.Errorf("since: %q", got)
	}
	if got := texts(read(t, h, id, logs.ReadOptions{Tail: -1, Streams: []logs.Stream{logs.Stdout}})); !slices.Equal(got, all[10:]) {
		t.Errorf("stdout: %q", got)
	}
	for _, err := range h.Read(h.ctx(), newID(), logs.ReadOptions{}) {
		if !errdefs.IsNotFound(err) {
			t.Errorf("unknown dyno: %v", err)
		}
	}
}

func TestFollow(t *testing.T) {
	h := newHost(t, nil, nil)
	id := newID()
	p := h.open(id)
	write(t, p.Stdout, "0\n")
	n := 0
	for line, err := range h.Read(h.ctx(), id, logs.ReadOptions{Follow: true, Tail: -1}) {
		if err != nil {
			t.Fatal(err)
		}
		if string(line.Text) != fmt.Sprint(n) {
			t.Fatalf("line %q", line.Text)
		}
		if n++; n <= 5 {
			write(t, p.Stdout, fmt.Sprintf("%d\n", n))
		} else if n == 6 {
			write(t, p.Stdout, "6") // unfinished
			p.Close()
			h.Finish(id)
		}
	}
	if n != 7 {
		t.Errorf("followed %d lines", n)
	}
	ctx, cancel := context.WithCancel(h.ctx())
	other := newID()
	defer h.open(other).Close()
	time.AfterFunc(20*time.Millisecond, cancel)
	for _, err := range h.Read(ctx, other, logs.ReadOptions{Follow: true}) {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("follow ends with %v", err)
		}
	}
}

func TestFloodDoesNotStarveOthers(t *testing.T) {
	r := newReceiver(t)
	h := newHost(t, r, nil)
	floods, stop := h.flood(r)
	if err := r.reach(h.ctx(), 4<<20); err != nil {
		t.Fatal(err)
	}
	id := newID()
	p := h.open(id)
	write(t, p.Stdout, "a quiet word\n")
	begin := r.sum()
	for r.of(id, logs.Stdout).next == 0 {
		if err := r.reach(h.ctx(), r.sum()+1); err != nil {
			t.Fatal(err)
		}
	}
	behind := r.sum() - begin
	stop()
	if behind > window/4 {
		t.Errorf("a quiet dyno's line came after %d bytes of others", behind)
	}
	for _, f := range floods {
		h.over(f.id, logs.Pipes{})
	}
}

func TestSinkThatMisbehaves(t *testing.T) {
	r := newReceiver(t)
	calls := 0
	r.before = func(b logs.Batch) error {
		if calls++; calls%5 == 1 {
			return fmt.Errorf("upstream is not in the mood")
		}
		return nil
	}
	r.ack = func(b logs.Batch, a logs.Ack) logs.Ack {
		for k := range a.Offsets {
			switch calls % 4 {
			case 0:
				a.Offsets[k] += 1 << 40
			case 1:
				a.Offsets[k] -= 7 // inside a line
			case 2:
				a.Offsets[k] = eachLine(b.Runs)[0].End()
			}
		}
		a.Offsets[logs.Key{Dyno: newID(), Stream: 9}] = 5
		return a
	}
	h := newHost(t, r, nil)
	id := newID()
	p := h.open(id)
	var want strings.Builder
	for i := range 120_000 {
		fmt.Fprintf(&want, "line %d\n", i)
	}
	write(t, p.Stdout, want.String())
	h.over(id, p)
	if got := r.of(id, logs.Stdout); string(got.bytes) != want.String() || got.lost != 0 {
		t.Errorf("received %d bytes of %d", len(got.bytes), want.Len())
	}
}

// halfSink takes the first half of every batch only, and says so.
type halfSink struct{ *receiver }

func (s halfSink) Send(ctx context.Context, b logs.Batch) (logs.Ack, error) {
	b.Runs = eachLine(b.Runs)
	b.Runs = b.Runs[:(len(b.Runs)+1)/2]
	return s.receiver.Send(ctx, b)
}

func TestLinesThatAreNotTakenComeAgain(t *testing.T) {
	r := newReceiver(t)
	h := newHost(t, halfSink{r}, nil)
	id := newID()
	p := h.open(id)
	var want strings.Builder
	for i := range 2000 {
		fmt.Fprintf(&want, "line %d\n", i)
	}
	write(t, p.Stdout, want.String())
	write(t, p.Stderr, want.String())
	h.over(id, p)
	for _, s := range []logs.Stream{logs.Stdout, logs.Stderr} {
		if got := r.of(id, s); string(got.bytes) != want.String() || got.lost != 0 {
			t.Errorf("%s: received %d bytes of %d", s, len(got.bytes), want.Len())
		}
	}
}

// TestFinishCompletesTheLastLine has everybody die who could see the end of file.
func TestFinishCompletesTheLastLine(t *testing.T) {
	r := newReceiver(t)
	h := newHost(t, r, nil)
	id := newID()
	p := h.open(id)
	write(t, p.Stdout, "done\nunfinished")
	if err := r.reach(h.ctx(), 5); err != nil {
		t.Fatal(err)
	}
	h.end()
	h.kill(h.capturePid())
	p.Close()
	h.begin()
	h.over(id, p)
	if d := cmp.Diff([]string{"done", "unfinished"}, texts(r.of(id, logs.Stdout).lines)); d != "" {
		t.Error(d)
	}
}

func TestRemove(t *testing.T) {
	h := newHost(t, newReceiver(t), nil)
	ids := []string{newID(), newID()}
	slices.Sort(ids)
	for _, id := range ids {
		p := h.open(id)
		write(t, p.Stdout, "something\n")
	}
	for ctx := h.ctx(); ; { // capture makes the directories
		got, err := h.List(ctx)
		if err == nil && slices.Equal(got, ids) {
			break
		}
		if err != nil || ctx.Err() != nil {
			t.Fatalf("List: %v, %v", got, err)
		}
	}
	for range 2 {
		if err := h.Remove(h.ctx(), ids[0]); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := h.List(h.ctx()); err != nil || !slices.Equal(got, ids[1:]) {
		t.Errorf("List: %v, %v", got, err)
	}
	if err := h.Drained(h.ctx(), ids[0]); err != nil {
		t.Error(err)
	}
	if err := h.Remove(h.ctx(), "../x"); !errdefs.IsInvalidArgument(err) {
		t.Errorf("hostile id: %v", err)
	}
}

// TestDamagedSpool breaks files in every way between two lives of the agent: nothing crashes, and what is intact
// arrives, with the gaps told.
func TestDamagedSpool(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for round := range 12 {
		r := newReceiver(t)
		gate := make(chan struct{})
		r.before = func(logs.Batch) error { <-gate; return nil }
		h := newHost(t, r, func(c *logs.Config) { c.SpoolBytes = 1 << 20 })
		id := newID()
		p := h.open(id)
		var written int64
		for i := range 4000 {
			line := fmt.Sprintf("line %d with some text to make it longer and longer\n", i)
			write(t, p.Stdout, line)
			written += int64(len(line))
		}
		p.Close()
		if err := h.Drained(h.ctx(), id); err != nil {
			t.Fatal(err)
		}
		close(gate)
		h.end()
		if err := os.Remove(filepath.Join(h.cfg.SpoolDir, id, "cursor")); err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
		damage(t, filepath.Join(h.cfg.SpoolDir, id, "out"), round, rng)
		fresh := newReceiver(t)
		h.sink = fresh
		h.begin()
		p = h.open(id)
		write(t, p.Stdout, "still alive\n")
		h.over(id, p)
		got := fresh.of(id, logs.Stdout)
		if n := len(got.lines); n < 100 || string(got.lines[n-1].Text) != "still alive" {
			t.Errorf("round %d: %d lines, the last %+v", round, n, got.lines[max(0, n-2):])
		}
		if last := got.lines[len(got.lines)-1]; last.Offset < written {
			t.Errorf("round %d: a new line is at %d, where others were, of %d bytes", round, last.Offset, written)
		}
		if sum := int64(len(got.bytes)) + got.lost; sum != got.next || len(got.bytes) == 0 {
			t.Errorf("round %d: %d bytes and %d lost of %d", round, len(got.bytes), got.lost, got.next)
		}
	}
}

func damage(t *testing.T, dir string, round int, rng *rand.Rand) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var segments []string
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), ".seg") {
			segments = append(segments, filepath.Join(dir, e.Name()))
		}
	}
	victim := segments[rng.IntN(len(segments))]
	steps := []func() error{
		func() error { return os.Truncate(victim, 100) },
		func() error { return os.Remove(victim) },
		func() error { return os.Rename(victim, filepath.Join(dir, "7000000000000000.seg")) },
		func() error { return os.Rename(victim, filepath.Join(dir, "0000000000000007.seg")) },
		func() error { return os.Symlink("/etc/passwd", filepath.Join(dir, "0000000000f00000.seg")) },
		func() error { return os.Mkdir(filepath.Join(dir, "0000000000e00000.seg"), 0o700) },
		func() error { return os.WriteFile(filepath.Join(dir, "0000000000e00001.eof"), []byte("x"), 0o600) },
		func() error { return os.WriteFile(filepath.Join(dir, "../cursor"), []byte("cursor 1 9 9 9 0"), 0o600) },
		func() error { return os.WriteFile(strings.TrimSuffix(victim, "seg")+"t", []byte("short"), 0o600) },
		func() error { return os.WriteFile(filepath.Join(dir, "ffffffffffffffff.seg"), []byte("x"), 0o600) },
		func() error { return os.WriteFile(filepath.Join(dir, "readme"), []byte("x"), 0o600) },
		func() error { return os.Truncate(segments[len(segments)-1], 10) },
	}
	if err := steps[round%len(steps)](); err != nil {
		t.Fatal(err)
	}
}

func TestSecondCaptureIsRefused(t *testing.T) {
	h := newHost(t, nil, nil)
	h.open(newID())
	err := capture.Run(h.ctx(), capture.Config{Socket: h.cfg.Socket, SpoolDir: h.cfg.SpoolDir}, nil, nil)
	if !errdefs.IsAlreadyExists(err) {
		t.Errorf("second capture: %v", err)
	}
}
