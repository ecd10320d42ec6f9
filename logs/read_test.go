package logs_test

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dynod/dynod/logs"
	"github.com/dynod/dynod/logs/spool"
)

var morning = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// filled writes a dyno's streams as capture would: chunks of any size and bytes, at ascending times, some lives.
func filled(t *testing.T, dir string, segment int64, chunks int, rng *rand.Rand) string {
	t.Helper()
	id := newID()
	var writers [2]*spool.Writer
	for i, s := range []logs.Stream{logs.Stdout, logs.Stderr} {
		w, err := spool.OpenWriter(filepath.Join(dir, id), s, segment)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = w.Close() })
		writers[i] = w
	}
	for i := range chunks {
		n := rng.IntN(2)
		w, at := writers[n], morning.Add(time.Duration(i)*time.Second)
		var err error
		switch rng.IntN(40) {
		case 0:
			err = w.End()
			mark := filepath.Join(dir, id, []string{"out", "err"}[n], fmt.Sprintf("%016x.eof", w.Offset()))
			err = errors.Join(err, os.Chtimes(mark, at, at)) // it dates a loss before it
		case 1:
			w.Skip(spool.Lost{From: w.Offset(), Lines: 7, Since: at}, w.Offset()+int64(rng.IntN(5000))+1)
		case 2:
			err = w.Append(bytes.Repeat([]byte("y"), rng.IntN(25_000)+1), at)
		default:
			err = w.Append(fmt.Appendf(nil, "%s\nchunk %d\nrest", strings.Repeat("x", rng.IntN(300)), i), at)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return id
}

// TestReadStartsRight holds what is read from a later start against the end of what is read from the beginning.
func TestReadStartsRight(t *testing.T) {
	for round := range 6 {
		rng := rand.New(rand.NewPCG(1, uint64(round)))
		h := newHost(t, nil, func(c *logs.Config) { c.Capture = []string{"/bin/false"} })
		h.end()
		id := filled(t, h.cfg.SpoolDir, int64(rng.IntN(60_000)+5000), 400, rng)
		all := read(t, h, id, logs.ReadOptions{Tail: -1})
		for _, n := range []int{0, 1, 2, 7, 100, len(all) - 1, len(all), len(all) + 1} {
			got := read(t, h, id, logs.ReadOptions{Tail: n})
			if d := difference(untold(all[max(0, len(all)-n):]), untold(got)); d != "" {
				t.Fatalf("round %d, tail %d: %s", round, n, d)
			}
		}
		for range 10 {
			since := morning.Add(time.Duration(rng.IntN(420)) * time.Second)
			var want []logs.Line
			for _, line := range all {
				if !line.Time.Before(since) {
					want = append(want, line)
				}
			}
			if d := difference(untold(want), untold(read(t, h, id, logs.ReadOptions{Tail: -1, Since: since}))); d != "" {
				t.Fatalf("round %d, since %s: %s", round, since, d)
			}
			n := rng.IntN(20)
			want = want[max(0, len(want)-n):]
			if d := difference(untold(want), untold(read(t, h, id, logs.ReadOptions{Tail: n, Since: since}))); d != "" {
				t.Fatalf("round %d, tail %d since %s: %s", round, n, since, d)
			}
			resumed(t, h, id, all, rng.IntN(len(all)))
		}
	}
}

// difference is cmp.Diff, which takes its time, only where there is any.
func difference(want, got []logs.Line) string {
	if reflect.DeepEqual(want, got) {
		return ""
	}
	return cmp.Diff(want, got)
}

// untold is lines without what they tell of bytes before them: a start within a hole need not know of it.
func untold(lines []logs.Line) []logs.Line {
	out := []logs.Line{}
	for _, line := range lines {
		line.Lost, line.LostLines, line.LostSince = 0, 0, time.Time{}
		out = append(out, line)
	}
	return out
}

// resumed reads some lines, and the rest from where they end: together they are all, the losses included.
func resumed(t *testing.T, h *host, id string, all []logs.Line, cut int) {
	t.Helper()
	ends := map[logs.Stream]int64{}
	for _, line := range all[:cut] {
		ends[line.Stream] = line.End()
	}
	got := read(t, h, id, logs.ReadOptions{Tail: -1, From: ends, Since: morning})
	if d := difference(append([]logs.Line{}, all[cut:]...), append([]logs.Line{}, got...)); d != "" {
		t.Fatalf("after %d lines: %s", cut, d)
	}
}

// TestReadsLittle has a spool of 32 MiB: its last lines, and those since a late time, cost little reading.
func TestReadsLittle(t *testing.T) {
	h := newHost(t, nil, func(c *logs.Config) { c.Capture = []string{"/bin/false"} })
	h.end()
	id := newID()
	w, err := spool.OpenWriter(filepath.Join(h.cfg.SpoolDir, id), logs.Stdout, 4<<20)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	const size = 100
	line := strings.Repeat("z", size-1) + "\n"
	n := 32 << 20 / size
	for i := range n / 2 {
		if err := w.Append([]byte(strings.Repeat(line, 2)), morning.Add(time.Duration(i)*time.Millisecond)); err != nil {
			t.Fatal(err)
		}
	}
	late := morning.Add(time.Duration(n/2-50) * time.Millisecond)
	for name, o := range map[string]logs.ReadOptions{
		"tail":  {Tail: 100},
		"since": {Tail: -1, Since: late},
		"both":  {Tail: 100, Since: morning.Add(time.Second)},
		"from":  {Tail: -1, From: map[logs.Stream]int64{logs.Stdout: int64(n/2*2-100) * size}},
	} {
		before := bytesRead(t)
		lines := read(t, h, id, o)
		if cost := bytesRead(t) - before; len(lines) != 100 || cost > 512<<10 {
			t.Errorf("%s: %d lines, %d bytes read", name, len(lines), cost)
		}
	}
}

// bytesRead is what this process has read so far.
func bytesRead(t *testing.T) (n int64) {
	t.Helper()
	text, err := os.ReadFile("/proc/self/io")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := fmt.Sscanf(string(text), "rchar: %d", &n); err != nil {
		t.Fatal(err)
	}
	return n
}
