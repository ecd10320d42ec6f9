package logs

import (
	"bytes"
	"iter"
	"time"

	"github.com/dynod/dynod/logs/spool"
)

// Run is lines of one stream that follow each other, as the bytes that were written. Every line but the last has its
// newline; the last lacks it where it is Continued or nobody wrote its end.
type Run struct {
	Key
	Offset    int64        // position of its first byte
	Text      []byte       // newlines and all; empty: it only tells what was Lost
	Time      time.Time    // when its first byte was read
	Later     []spool.Mark // ascending: lines that begin at a mark or behind it were read at the mark's time
	Continued bool         // the last line is cut at MaxLine and goes on in the next Run of the stream
	Lost      int64        // bytes right before Offset that were dropped
	LostLines int64        // lines among them; 0: unknown
	LostSince time.Time    // when that began; zero: unknown
}

// End is the position after the run.
func (r Run) End() int64 { return r.Offset + int64(len(r.Text)) }

// Lines gives the run's lines, whose texts are parts of its own.
func (r Run) Lines() iter.Seq[Line] {
	return func(yield func(Line) bool) {
		for yield(r.pop()) && len(r.Text) > 0 {
		}
	}
}

// pop takes the first line.
func (r *Run) pop() Line {
	size := bytes.IndexByte(r.Text, '\n') + 1
	text := size - 1
	if size == 0 {
		size, text = len(r.Text), len(r.Text)
	}
	line := Line{
		Dyno: r.Dyno, Stream: r.Stream, Offset: r.Offset, Size: int64(size), Time: r.Time, Text: r.Text[:text:text],
		Continued: r.Continued && size == len(r.Text), Lost: r.Lost, LostLines: r.LostLines, LostSince: r.LostSince,
	}
	*r = r.from(size)
	return line
}

// from is the run without its first n bytes, which are lines.
func (r Run) from(n int) Run {
	if n > 0 {
		r.Lost, r.LostLines, r.LostSince = 0, 0, time.Time{}
	}
	r.Offset, r.Text = r.Offset+int64(n), r.Text[n:]
	for len(r.Later) > 0 && r.Later[0].Offset <= r.Offset {
		r.Time, r.Later = r.Later[0].Time, r.Later[1:]
	}
	return r
}

// upTo is the run's first n bytes, which are lines.
func (r Run) upTo(n int) Run {
	r.Continued = r.Continued && n == len(r.Text)
	r.Text = r.Text[:n]
	for k := len(r.Later); k > 0 && r.Later[k-1].Offset >= r.End(); k-- {
		r.Later = r.Later[:k-1]
	}
	return r
}

// below is how many of the run's bytes are lines that end at a position or before it; false: not even the first does.
func (r Run) below(offset int64) (n int, any bool) {
	switch {
	case offset >= r.End():
		return len(r.Text), true
	case offset > r.Offset:
		n = bytes.LastIndexByte(r.Text[:offset-r.Offset], '\n') + 1
	}
	return n, n > 0
}

// middle is where the run can be divided into lines and lines; 0: it is one line.
func (r Run) middle() int {
	n := bytes.LastIndexByte(r.Text[:len(r.Text)/2], '\n') + 1
	if n == 0 {
		n = bytes.IndexByte(r.Text, '\n') + 1
	}
	return n % max(1, len(r.Text))
}
