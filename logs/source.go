package logs

import (
	"errors"
	"io"
	"sync"

	"github.com/dynod/dynod/logs/spool"
)

// readBytes is how much a source reads at once.
const readBytes = 64 << 10

// buffers are lent to sources that have unread bytes: an idle dyno keeps none.
var buffers = sync.Pool{New: func() any { return new([readBytes]byte) }}

// source gives the lines of one stream from a position on. It is used by one goroutine.
type source struct {
	reader *spool.Reader
	cutter cutter
	buf    *[readBytes]byte // nil: nothing fed
	skip   bool             // the first line began before the position
}

func newSource(dyno string, k Key, from int64) *source {
	return &source{reader: spool.NewReader(spool.Dir(dyno, k.Stream), from), cutter: cutter{Key: k, end: from}}
}

// next gives the next complete line, false if there is none at present. After an error go on asking in a while, see
// spool.Reader.Next.
func (s *source) next() (Line, bool, error) {
	for {
		line, ok, err := s.cut()
		if !ok || err != nil || !s.skip {
			return line, ok, err
		}
		s.skip = line.Continued
	}
}

func (s *source) cut() (Line, bool, error) {
	for {
		if line, ok := s.cutter.next(s.reader.Time); ok {
			return line, true, nil
		}
		if s.buf == nil {
			s.buf = buffers.Get().(*[readBytes]byte)
		}
		p, err := s.reader.Next(s.buf[:])
		if err == nil && p.Kind == spool.Data {
			s.cutter.feed(p.Data, p.Offset)
			continue
		}
		s.giveBack()
		if errors.Is(err, io.EOF) {
			return Line{}, false, nil
		}
		if err != nil {
			return Line{}, false, err
		}
		if line, ok := s.broken(p); ok {
			return line, true, nil
		}
	}
}

// broken ends an unfinished line at a gap or at the end of a life. A loss that no line follows in the same life is
// told at its end.
func (s *source) broken(p spool.Piece) (Line, bool) {
	line, ok := s.cutter.flush()
	if p.Kind == spool.Gap {
		s.cutter.missed(p.Lines, p.Since)
	}
	if !ok && p.Kind == spool.End {
		return s.cutter.loss(p.Offset, p.Time)
	}
	return line, ok
}

func (s *source) giveBack() {
	if s.buf != nil {
		buffers.Put(s.buf)
		s.buf, s.cutter.spare = nil, nil
	}
}

func (s *source) close() {
	if s != nil {
		s.giveBack()
		s.reader.Close()
	}
}
