package logs_test

import (
	"bytes"
	"reflect"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dynod/dynod/logs"
)

// cutWhole cuts data fed at once from a position on.
func cutWhole(data []byte, at int64) []logs.Line {
	c := logs.NewCutter(at)
	return linesOf(append(c.Feed(data, at), c.Flush()...))
}

func linesOf(runs []logs.Run) (lines []logs.Line) {
	for _, r := range runs {
		lines = slices.AppendSeq(lines, r.Lines())
	}
	return lines
}

// FuzzCutter holds the three promises of the cutter: no byte is lost or made up, how the bytes are divided does not
// matter, and from the start of any line the rest comes out the same again.
func FuzzCutter(f *testing.F) {
	long := bytes.Repeat([]byte("l"), logs.MaxLine)
	f.Add([]byte("one\ntwo\n\nthree"), uint16(3))
	f.Add(append(append([]byte{}, long...), '\n'), uint16(9999))
	f.Add(append(append([]byte{}, long...), "more\nx"...), uint16(10000))
	f.Add(append(append([]byte{}, long...), long...), uint16(7))
	f.Fuzz(func(t *testing.T, data []byte, step uint16) {
		want := cutWhole(data, 100)
		checkCovers(t, want, data)
		checkHalves(t, want, data)
		c := logs.NewCutter(100)
		var got []logs.Line
		for at, size := 0, int(step%20_000)+1; at < len(data); at += size {
			got = append(got, linesOf(c.Feed(data[at:min(at+size, len(data))], 100+int64(at)))...)
		}
		if got = append(got, linesOf(c.Flush())...); !slices.EqualFunc(want, got, same) {
			t.Errorf("fed in pieces of %d:\n%s", step%20_000+1, cmp.Diff(want, got))
		}
		for i := 0; i < len(want); i += len(want)/3 + 1 {
			again := cutWhole(data[want[i].Offset-100:], want[i].Offset)
			if !slices.EqualFunc(want[i:], again, same) {
				t.Errorf("cut again from %d:\n%s", want[i].Offset, cmp.Diff(want[i:], again))
			}
		}
	})
}

func same(a, b logs.Line) bool { return reflect.DeepEqual(a, b) }

func checkCovers(t *testing.T, lines []logs.Line, data []byte) {
	t.Helper()
	var all []byte
	next := int64(100)
	for _, l := range lines {
		if l.Offset != next || l.Lost != 0 || len(l.Text) > logs.MaxLine || l.Time.Unix() != l.Offset-l.Offset%3 {
			t.Fatalf("line at %d after %d, lost %d, time %d", l.Offset, next, l.Lost, l.Time.Unix())
		}
		all = append(all, l.Text...)
		if l.Size == int64(len(l.Text))+1 {
			all = append(all, '\n')
		}
		next = l.End()
	}
	if !bytes.Equal(all, data) {
		t.Fatalf("%d bytes cut out of %d", len(all), len(data))
	}
}

// checkHalves divides what is cut again and again, and again has the same lines.
func checkHalves(t *testing.T, want []logs.Line, data []byte) {
	t.Helper()
	c := logs.NewCutter(100)
	left := [][]logs.Run{append(c.Feed(data, 100), c.Flush()...)}
	var got []logs.Line
	for len(left) > 0 && len(left[0]) > 0 {
		halves := logs.Halve(left[0])
		if left = left[1:]; len(halves) == 1 {
			got = append(got, linesOf(halves[0])...)
		} else {
			left = slices.Concat(halves, left)
		}
	}
	if !slices.EqualFunc(want, got, same) {
		t.Errorf("divided:\n%s", cmp.Diff(want, got))
	}
}
