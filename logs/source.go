package logs

import (
	"errors"
	"io"
	"sync"

	"github.com/dynod/dynod/logs/spool"
)

// readBytes is how much a source of lines reads at once.
const readBytes = 48 << 10

// buffers are lent to sources that have unread bytes: an idle dyno keeps none.
var buffers = sync.Pool{New: func() any { return new([readBytes + MaxLine]byte) }}

// source gives what is in one stream from a position on: runs (read), or lines (next). It is used by one goroutine.
type source struct {
	reader *spool.Reader
	cutter cutter
	marks  []spool.Mark // of what was read last

	// Of next alone.
	buf    *[readBytes + MaxLine]byte // nil: nothing is left of what was read
	runs   []Run                      // in buf
	left   []Run                      // of runs
	spare  []byte                     // for texts
	midway bool                       // the first line began before the position, and is left out
}

func newSource(dyno string, k Key, from int64) *source {
	return &source{reader: spool.NewReader(spool.Dir(dyno, k.Stream), from), cutter: cutter{Key: k, end: from}}
}

// read reads up to most bytes and appends the runs that are complete then. Their texts lie in buf, one behind the other
// from its beginning; it must have room for MaxLine bytes more. False: there is nothing more at present. After an error
// go on asking in a while, see spool.Reader.Next.
func (s *source) read(runs []Run, buf []byte, most int) ([]Run, bool, error) {
	held := copy(buf, s.cutter.held)
	p, err := s.reader.Next(buf[held : held+most])
	switch {
	case errors.Is(err, io.EOF):
		return runs, false, nil
	case err != nil:
		return runs, false, err
	case p.Kind != spool.Data:
		return s.broken(runs, buf, p), true, nil
	}
	s.marks = s.marks[:0]
	if held > 0 {
		s.marks = append(s.marks, s.cutter.since)
	}
	s.marks = s.reader.Marks(s.marks, p)
	return s.cutter.cut(runs, buf[:held+len(p.Data)], s.marks), true, nil
}

// broken ends an unfinished line at a gap or at the end of a life. A loss that no line follows in the same life is
// told at its end.
func (s *source) broken(runs []Run, buf []byte, p spool.Piece) []Run {
	before := len(runs)
	runs = s.cutter.flush(runs, buf)
	if p.Kind == spool.Gap {
		s.cutter.missed(p.Lines, p.Since)
	}
	if len(runs) == before && p.Kind == spool.End {
		return s.cutter.loss(runs, p.Offset, p.Time)
	}
	return runs
}

// next gives the next complete line, false if there is none at present. An error is like that of read.
func (s *source) next() (Line, bool, error) {
	for {
		for len(s.left) > 0 {
			line := s.left[0].pop()
			if len(s.left[0].Text) == 0 {
				s.left = s.left[1:]
			}
			if s.midway {
				s.midway = line.Continued
				continue
			}
			line.Text = s.own(line.Text)
			return line, true, nil
		}
		if more, err := s.refill(); !more {
			s.giveBack()
			return Line{}, false, err
		}
	}
}

func (s *source) refill() (more bool, err error) {
	if s.buf == nil {
		s.buf = buffers.Get().(*[readBytes + MaxLine]byte)
	}
	s.runs, more, err = s.read(s.runs[:0], s.buf[:], readBytes)
	s.left = s.runs
	return more, err
}

// spareBytes are allocated for texts at once.
const spareBytes = 4 << 10

// own copies a text: short ones share a piece of memory.
func (s *source) own(text []byte) []byte {
	if len(text) > len(s.spare) {
		if len(text) > spareBytes/4 {
			return append([]byte(nil), text...)
		}
		s.spare = make([]byte, spareBytes)
	}
	n := copy(s.spare, text)
	text, s.spare = s.spare[:n:n], s.spare[n:]
	return text
}

func (s *source) giveBack() {
	if s.buf != nil {
		buffers.Put(s.buf)
		s.buf, s.runs, s.left, s.spare = nil, nil, nil, nil
	}
}

func (s *source) close() {
	if s != nil {
		s.giveBack()
		s.reader.Close()
	}
}
