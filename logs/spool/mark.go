package spool

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"time"
)

// MarkSize is the length of one encoded Mark in bytes.
const MarkSize = 16

// Mark says that the bytes from Offset up to the next mark arrived at Time. It is written before the bytes it dates,
// so whoever sees a byte finds its mark; of marks with the same offset the last one holds.
type Mark struct {
	Offset int64
	Time   time.Time
}

// AppendMark encodes m: offset and Unix time in nanoseconds, little-endian.
func AppendMark(b []byte, m Mark) []byte {
	b = binary.LittleEndian.AppendUint64(b, uint64(m.Offset))
	return binary.LittleEndian.AppendUint64(b, uint64(m.Time.UnixNano()))
}

// ParseMark decodes the first MarkSize bytes of b. Zeros are no mark: a power cut may leave a file as long as it was, and empty.
func ParseMark(b []byte) (m Mark, ok bool) {
	if len(b) < MarkSize {
		return m, false
	}
	offset := binary.LittleEndian.Uint64(b)
	nanos := int64(binary.LittleEndian.Uint64(b[8:]))
	if offset > maxOffset || nanos == 0 {
		return m, false
	}
	return Mark{Offset: int64(offset), Time: time.Unix(0, nanos).UTC()}, true
}

// clock answers when the bytes of one segment arrived. Questions come in ascending order.
type clock struct {
	file  *os.File  // nil: the segment has no marks
	start int64     // of the segment
	read  int64     // bytes of file taken so far
	now   time.Time // the answer up to next.Offset
	next  Mark
	more  bool // next is set
	buf   []byte
	room  [64 * MarkSize]byte
}

// openClock reads the marks of the segment that starts at start; before its first mark, and without marks of ours, the
// answer is fallback.
func openClock(dir string, start int64, fallback time.Time) (*clock, error) {
	c := &clock{start: start, now: fallback}
	path := filepath.Join(dir, fileName(start, marksSuffix))
	size, err := regularSize(path)
	if err == nil && size <= maxFile {
		c.file, err = openRegular(path, os.O_RDONLY)
	}
	if err != nil && !gone(err) && !broken(err) {
		return nil, err
	}
	return c, nil
}

func (c *clock) at(offset int64) time.Time {
	for c.fill() && c.next.Offset <= offset {
		c.now, c.more = c.next.Time, false
	}
	return c.now
}

// marks appends when the bytes of a piece arrived: a mark at its beginning, and one wherever the time changes.
func (c *clock) marks(all []Mark, offset, end int64) []Mark {
	for offset < end {
		all = append(all, Mark{offset, c.at(offset)})
		if !c.more {
			break
		}
		offset = c.next.Offset
	}
	return all
}

// Marks appends when the bytes of a piece of Data arrived: a mark at its beginning, and one wherever the time changes.
// The piece is the one that Next gave last.
func (r *Reader) Marks(all []Mark, p Piece) []Mark {
	return r.clock.marks(all, p.Offset, p.Offset+int64(len(p.Data)))
}

// fill sets next to the next mark that can be true, if there is one by now.
func (c *clock) fill() bool {
	for !c.more {
		if len(c.buf) < MarkSize && !c.load() {
			return false
		}
		c.next, c.more = ParseMark(c.buf)
		c.more = c.more && c.next.Offset >= c.start && c.next.Offset < c.start+maxFile // otherwise damaged
		c.buf = c.buf[MarkSize:]
	}
	return true
}

func (c *clock) load() bool {
	if c.file == nil {
		return false
	}
	n, _ := c.file.ReadAt(c.room[:], c.read)
	n -= n % MarkSize // a record that is not whole belongs to no byte yet
	c.read += int64(n)
	c.buf = c.room[:n]
	return n > 0
}

func (c *clock) close() {
	if c != nil && c.file != nil {
		_ = c.file.Close()
	}
}
