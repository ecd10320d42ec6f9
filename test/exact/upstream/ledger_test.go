package upstream_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	dynodv1 "github.com/dynod/dynod/proto/dynod/v1"
	"github.com/dynod/dynod/test/exact/numbered"
	"github.com/dynod/dynod/test/exact/upstream"
)

const id = "e4ac7000-0000-4000-8000-000000000000"

var key = upstream.Key{Dyno: id, Stream: dynodv1.LogStream_LOG_STREAM_STDOUT}

// cut makes lines of a stream as the platform does.
func cut(seed uint64, n int) []*dynodv1.LogLine {
	s := numbered.New(seed)
	var lines []*dynodv1.LogLine
	for at := int64(0); len(lines) < n; {
		for rest := s.Next(nil); len(rest) > 0; {
			l := &dynodv1.LogLine{Stream: key.Stream, Offset: at, Time: timestamppb.New(time.Unix(1, at))}
			l.Continued = len(rest) > 10_001
			l.Size = int64(len(rest))
			if l.Continued {
				l.Size = 10_000
			}
			l.Text = []byte(strings.TrimSuffix(string(rest[:l.Size]), "\n"))
			lines, rest, at = append(lines, l), rest[l.Size:], at+l.Size
		}
	}
	return lines[:n]
}

// pack makes runs of lines, as long ones as there can be.
func pack(lines []*dynodv1.LogLine) (runs []*dynodv1.LogRun) {
	var r *dynodv1.LogRun
	for _, l := range lines {
		text := append(slices.Clip(l.GetText()), '\n')[:l.GetSize()]
		if r == nil || !follows(r, l) {
			r = &dynodv1.LogRun{
				DynoId: id, Stream: l.GetStream(), Offset: l.GetOffset(), Time: l.GetTime(),
				LostBytes: l.GetLostBytes(), LostLines: l.GetLostLines(),
			}
			runs = append(runs, r)
		} else if later := l.GetTime().AsTime().Sub(r.GetTime().AsTime()); later > 0 {
			r.LaterAt, r.LaterNanos = append(r.LaterAt, uint32(len(r.GetText()))), append(r.LaterNanos, int64(later))
		}
		r.Text, r.Continued = append(r.GetText(), text...), l.GetContinued()
	}
	return runs
}

func follows(r *dynodv1.LogRun, l *dynodv1.LogLine) bool {
	return r.GetOffset()+int64(len(r.GetText())) == l.GetOffset() && strings.HasSuffix(string(r.GetText()), "\n") &&
		!r.GetContinued() && l.GetLostBytes() == 0 && r.GetTime() != nil && l.GetTime() != nil
}

// TestLedger shows the ledger ways to be wrong, one at a time.
func TestLedger(t *testing.T) {
	const at = 500 // the line that is wrong
	for name, c := range map[string]struct {
		change func([]*dynodv1.LogLine) []*dynodv1.LogLine
		says   string
	}{
		"nothing":        {func(l []*dynodv1.LogLine) []*dynodv1.LogLine { return l }, ""},
		"twice":          {func(l []*dynodv1.LogLine) []*dynodv1.LogLine { return slices.Insert(l, at, l[at-9:at]...) }, ""},
		"lost":           {lose(at, true, 1), ""},
		"lost, alone":    {tellAlone(at), ""},
		"lost untold":    {lose(at, false, 0), "after"},
		"lines untold":   {lose(at, true, 0), "0 lines are told as lost"},
		"lines too many": {lose(at, true, 2), "2 lines are told as lost"},
		"reordered":      {func(l []*dynodv1.LogLine) []*dynodv1.LogLine { l[at], l[at+1] = l[at+1], l[at]; return l }, "after"},
		"other byte":     {edit(at, func(l *dynodv1.LogLine) { l.Text[0] ^= 1 }), "is wrong"},
		"no newline":     {edit(at, func(l *dynodv1.LogLine) { l.Size-- }), "after"},
		"cut":            {edit(at, func(l *dynodv1.LogLine) { l.Continued = true }), "is cut after"},
		"no time":        {edit(at, func(l *dynodv1.LogLine) { l.Time = nil }), "has no time"},
		"twice, changed": {again(at, func(l *dynodv1.LogLine) { l.Text[0] ^= 1 }), "is not the one that came before"},
		"twice, later":   {again(at, func(l *dynodv1.LogLine) { l.Time.Nanos++ }), "is not the one that came before"},
		"twice, shorter": {again(at, func(l *dynodv1.LogLine) { l.Size-- }), "never came before"},
	} {
		t.Run(name, func(t *testing.T) {
			l := upstream.NewLedger()
			l.Expect(key, 3)
			lines := c.change(cut(3, 1000))
			l.Take(pack(lines), len(lines))
			errs := l.Errors()
			if c.says == "" && len(errs) > 0 || c.says != "" && (len(errs) == 0 || !strings.Contains(errs[0].Error(), c.says)) {
				t.Errorf("said %v, want %q", errs, c.says)
			}
		})
	}
}

// TestMalformedRuns has what a receiver may take for lines and should not.
func TestMalformedRuns(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*dynodv1.LogRun)
		says   string
	}{
		"nothing":               {func(*dynodv1.LogRun) {}, ""},
		"empty":                 {func(r *dynodv1.LogRun) { r.Text = nil }, "an empty run"},
		"lines lost in nothing": {func(r *dynodv1.LogRun) { r.LostLines = 1 }, "lines lost"},
		"no places":             {func(r *dynodv1.LogRun) { r.LaterAt = nil }, "at 0 places"},
		"places in disorder":    {func(r *dynodv1.LogRun) { r.LaterAt[1] = r.LaterAt[0] }, "after one at"},
		"a place at 0":          {func(r *dynodv1.LogRun) { r.LaterAt[0] = 0 }, "times at"},
		"a place beyond":        {func(r *dynodv1.LogRun) { r.LaterAt[len(r.LaterAt)-1] = uint32(len(r.Text)) }, "times at"},
	} {
		t.Run(name, func(t *testing.T) {
			l := upstream.NewLedger()
			runs := pack(cut(3, 10))[:1]
			c.change(runs[0])
			l.Take(runs, 1000)
			errs := errors.Join(l.Errors()...)
			if c.says == "" && errs != nil || c.says != "" && (errs == nil || !strings.Contains(errs.Error(), c.says)) {
				t.Errorf("said %v, want %q", errs, c.says)
			}
		})
	}
}

// lose leaves a whole line out and tells of it as so many.
func lose(at int, told bool, lines int64) func([]*dynodv1.LogLine) []*dynodv1.LogLine {
	return func(l []*dynodv1.LogLine) []*dynodv1.LogLine {
		if told {
			l[at+1].LostBytes, l[at+1].LostLines = l[at].GetSize(), lines
		}
		return slices.Delete(l, at, at+1)
	}
}

// tellAlone loses a line and tells it in a run without text, as at the end of a life.
func tellAlone(at int) func([]*dynodv1.LogLine) []*dynodv1.LogLine {
	return func(l []*dynodv1.LogLine) []*dynodv1.LogLine {
		l = lose(at, true, 1)(l)
		notice := proto.CloneOf(l[at])
		notice.Text, notice.Size, notice.Continued = nil, 0, false
		l[at].LostBytes, l[at].LostLines = 0, 0
		return slices.Insert(l, at, notice)
	}
}

func edit(at int, how func(*dynodv1.LogLine)) func([]*dynodv1.LogLine) []*dynodv1.LogLine {
	return func(l []*dynodv1.LogLine) []*dynodv1.LogLine { how(l[at]); return l }
}

// again sends a line a second time, changed.
func again(at int, how func(*dynodv1.LogLine)) func([]*dynodv1.LogLine) []*dynodv1.LogLine {
	return func(l []*dynodv1.LogLine) []*dynodv1.LogLine {
		double := proto.CloneOf(l[at])
		how(double)
		return slices.Insert(l, at+1, double)
	}
}

// What was refused is not taken before it has come again, and then wholly.
func TestRefusedLinesComeAgain(t *testing.T) {
	l := upstream.NewLedger()
	l.Expect(key, 3)
	lines := cut(3, 1000)
	batch := func(from, to int) []*dynodv1.LogRun { return pack(lines[from:to]) }
	first, whole := l.Take(batch(0, 400), 200)
	if first[key] != lines[200].GetOffset() || whole {
		t.Errorf("half of a batch reaches %d, %t", first[key], whole)
	}
	if next, whole := l.Take(batch(400, 600), 200); next[key] != first[key] || whole {
		t.Errorf("lines behind a refused one are taken up to %d, %t", next[key], whole)
	}
	l.Take(batch(200, 1000), 800)
	if a, _ := l.Of(key); a.Lines != 1000 || len(l.Errors()) > 0 {
		t.Errorf("%+v, %v", a, l.Errors())
	}
}

// What comes behind refused lines with a hole between is wrong even so.
func TestHoleBehindRefusedLines(t *testing.T) {
	l := upstream.NewLedger()
	lines := cut(3, 1000)
	l.Take(pack(lines[:400]), 200)
	l.Take(pack(lines[401:600]), 200)
	if len(l.Errors()) == 0 {
		t.Error("a hole is not seen")
	}
}
