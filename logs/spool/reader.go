package spool

import (
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// Kind tells what a Piece is.
type Kind uint8

// Data are bytes, Gap is a run of bytes that are not there, End is the end of a life.
const (
	Data Kind = iota
	Gap
	End
)

// Piece is the next thing in a stream.
type Piece struct {
	Kind   Kind
	Offset int64     // of the first byte
	Data   []byte    // Data: the bytes; they lie in the caller's buffer
	Lost   int64     // Gap: how many bytes are missing
	Lines  int64     // Gap: newlines among those that were discarded by decision; 0 where nobody counted, as after damage
	Since  time.Time // Gap: when the discarding began; zero where nobody knows
	Time   time.Time // End: when the life ended
}

// Reader walks one stream from a position to its present end, and on as it grows. The same stream gives the same
// pieces to every reader, except for where Data is divided. It is used by one goroutine.
type Reader struct {
	dir   string
	pos   int64
	ended int64 // position of the End told last, -1 before the first
	file  *os.File
	start int64 // of the segment that file is, -1 without one
	until int64 // where the next segment begins: what a damaged file holds beyond is not ours
	clock *clock
	fails map[int64]int // of reading a segment
}

// MaxFails is how often a segment may fail to be read until it counts as gone. So a sick disk can recover within the
// pauses that a caller makes, and one bad sector does not end a stream.
const MaxFails = 20

// NewReader reads the stream in dir from a position on; the directory need not exist yet.
func NewReader(dir string, from int64) *Reader {
	return &Reader{dir: dir, pos: from, start: -1, ended: -1, fails: map[int64]int{}}
}

// Next gives the next piece, at most len(buf) bytes of it. io.EOF means that there is none at present, or that it is bytes
// and buf is empty; ask again when the stream has grown. After any other error ask again in a while: nothing is passed over,
// unless the disk fails to give one segment MaxFails times, which then becomes a Gap.
func (r *Reader) Next(buf []byte) (Piece, error) {
	if p, ok, err := r.read(buf); ok || err != nil {
		return p, err
	}
	l, err := List(r.dir)
	for err == nil {
		// What the listing shows behind this position was made after the segment at hand got its last byte.
		if p, ok, err := r.read(buf); ok || err != nil {
			return p, err
		}
		if len(buf) == 0 && r.more() {
			return Piece{}, io.EOF
		}
		if r.ended != r.pos && l.ended(r.pos) {
			return r.end(), nil
		}
		var entered bool
		if entered, err = r.enter(l); entered || err != nil {
			continue
		}
		var before, after way
		if before, err = r.way(l); err == nil && !before.on {
			return Piece{}, io.EOF
		}
		// The older of two new files may be missing in one listing (see List), but not in a second one begun later.
		if l, err = List(r.dir); err != nil {
			continue
		}
		if after, err = r.way(l); err == nil && before == after {
			return r.gap(l, after.next)
		}
	}
	return Piece{}, fmt.Errorf("read stream: %w", err)
}

// Offset is the position of the next piece.
func (r *Reader) Offset() int64 { return r.pos }

// Close gives the files back.
func (r *Reader) Close() {
	if r.file != nil {
		_ = r.file.Close()
		r.clock.close()
	}
	r.file, r.clock, r.start = nil, nil, -1
}

func (r *Reader) read(buf []byte) (Piece, bool, error) {
	if r.file == nil {
		return Piece{}, false, nil
	}
	buf = buf[:max(0, min(int64(len(buf)), r.until-r.pos))]
	if len(buf) == 0 {
		return Piece{}, false, nil
	}
	n, err := r.file.ReadAt(buf, r.pos-r.start)
	if n > 0 {
		p := Piece{Kind: Data, Offset: r.pos, Data: buf[:n]}
		r.pos += int64(n)
		return p, true, nil
	}
	if errors.Is(err, io.EOF) {
		return Piece{}, false, nil
	}
	r.fails[r.start]++
	r.Close()
	return Piece{}, false, fmt.Errorf("read segment: %w", err)
}

// more tells that the segment at hand has bytes at this position.
func (r *Reader) more() bool {
	if r.file == nil || r.pos >= r.until {
		return false
	}
	fi, err := r.file.Stat()
	return err != nil || r.pos-r.start < fi.Size()
}

func (r *Reader) end() Piece {
	r.ended = r.pos
	p := Piece{Kind: End, Offset: r.pos}
	if d, err := openFolder(r.dir, streamDepth); err == nil {
		if st, err := d.stat(fileName(r.pos, endSuffix)); err == nil {
			p.Time = modified(st)
		}
		_ = d.Close()
	}
	return p
}

func modified(st unix.Stat_t) time.Time { return time.Unix(st.Mtim.Unix()).UTC() }

// way is how a stream goes on from the reader's position, as one listing shows it.
type way struct {
	held  int64 // see holding
	holds bool
	next  int64 // see following
	on    bool
}

func (r *Reader) way(l Listing) (w way, err error) {
	w.held, w.holds = r.holding(l)
	w.next, w.on, err = r.following(l)
	return w, err
}

func (r *Reader) gap(l Listing, to int64) (Piece, error) {
	p := Piece{Kind: Gap, Offset: r.pos, Lost: to - r.pos}
	var err error
	if p.Lines, p.Since, err = l.lost(r.dir, r.pos, to); err != nil {
		return Piece{}, fmt.Errorf("read count of a hole: %w", err)
	}
	r.pos = to
	return p, nil
}

// holding is the last segment after the one at hand that starts at or before this position.
func (r *Reader) holding(l Listing) (int64, bool) {
	i, found := slices.BinarySearch(l.Segments, r.pos)
	if !found {
		i--
	}
	if i < 0 || l.Segments[i] <= r.start || r.bad(l.Segments[i]) {
		return 0, false
	}
	return l.Segments[i], true
}

// following is the nearest position behind this one at which there is a byte or the end of a life. An empty segment
// does not count: the hole before it may become longer yet.
func (r *Reader) following(l Listing) (int64, bool, error) {
	end, ended := endAfter(l, r.pos)
	for _, start := range l.Segments {
		if start <= r.pos || r.bad(start) {
			continue
		}
		if ended && end < start {
			break
		}
		size, err := regularSize(r.path(start, segmentSuffix))
		if err != nil {
			return 0, false, r.failed(start, err)
		}
		if size > 0 {
			return start, true, nil
		}
	}
	return end, ended, nil
}

func endAfter(l Listing, pos int64) (int64, bool) {
	i, _ := slices.BinarySearch(l.Ends, pos+1)
	if i == len(l.Ends) {
		return 0, false
	}
	return l.Ends[i], true
}

// enter makes the segment that holds this position the one at hand, if there are bytes in it.
func (r *Reader) enter(l Listing) (bool, error) {
	start, ok := r.holding(l)
	if !ok {
		return false, nil
	}
	f, err := openRegular(r.path(start, segmentSuffix), os.O_RDONLY)
	if gone(err) {
		return false, nil
	}
	if err != nil {
		return false, r.failed(start, err)
	}
	fi, err := f.Stat()
	if err != nil || fi.Size() == 0 || fi.Size() > maxFile {
		return false, errors.Join(r.failed(start, err), f.Close())
	}
	clock, err := openClock(r.dir, start, fi.ModTime().UTC())
	if err != nil {
		return false, errors.Join(err, f.Close())
	}
	r.Close()
	r.file, r.start, r.until, r.clock = f, start, l.after(start), clock
	r.clock.seek(r.pos)
	return true, nil
}

func (r *Reader) bad(start int64) bool { return r.fails[start] >= MaxFails }

// failed counts what the disk is to blame for. Other trouble, such as too many open files, is not the segment's.
func (r *Reader) failed(start int64, err error) error {
	if broken(err) {
		r.fails[start]++
	}
	return err
}

func (r *Reader) path(offset int64, suffix string) string {
	return filepath.Join(r.dir, fileName(offset, suffix))
}

// after is where the segment behind the one at start begins.
func (l Listing) after(start int64) int64 {
	i, _ := slices.BinarySearch(l.Segments, start+1)
	if i == len(l.Segments) {
		return math.MaxInt64
	}
	return l.Segments[i]
}
