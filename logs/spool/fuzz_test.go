package spool_test

import (
	"testing"
	"time"

	"github.com/dynod/dynod/logs/spool"
)

func FuzzParseName(f *testing.F) {
	for _, name := range []string{"0000000000000000.seg", "00000000000000ff.t", "7fffffffffffffff.eof", "0000000000001000.lost", "cursor", ""} {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, name string) {
		offset, suffix, ok := spool.ParseName(name)
		if !ok {
			return
		}
		if offset < 0 || len(name) != 16+len(suffix) || spool.FileName(offset, suffix) != name {
			t.Errorf("%q parsed as %d %q", name, offset, suffix)
		}
	})
}

func FuzzParseMark(f *testing.F) {
	f.Add(spool.AppendMark(nil, spool.Mark{Offset: 77, Time: time.Unix(1, 2)}))
	f.Add([]byte("too short"))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, ok := spool.ParseMark(b)
		if !ok {
			return
		}
		if m.Offset < 0 || string(spool.AppendMark(nil, m)) != string(b[:spool.MarkSize]) {
			t.Errorf("%x parsed as %+v", b, m)
		}
	})
}

func FuzzParseCursor(f *testing.F) {
	f.Add([]byte("cursor 1 10 20 30 00000000\n"))
	f.Add([]byte("cursor 1 -1 99999999999999999999 0 xyz"))
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := spool.ParseCursor(b)
		if err == nil && (c[spool.Stdout] < 0 || c[spool.Stderr] < 0 || c[spool.Platform] < 0) {
			t.Errorf("%q parsed as %v", b, c)
		}
	})
}

func FuzzParseLost(f *testing.F) {
	f.Add([]byte(spool.Lost{From: 1, Lines: 2, Since: time.Unix(3, 4)}.Encode()), int64(100))
	f.Add([]byte("lost 1 0 99 0 00000000\n"), int64(1))
	f.Fuzz(func(t *testing.T, b []byte, end int64) {
		l, ok := spool.ParseLost(b, end)
		if ok && (l.From < 0 || l.Lines < 0 || l.From+l.Lines > end || l.Encode() != string(b)) {
			t.Errorf("%q before %d parsed as %+v", b, end, l)
		}
	})
}
