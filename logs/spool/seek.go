package spool

import (
	"bytes"
	"os"
	"path/filepath"
	"sort"
	"time"
)

const (
	// seekBlock is how much is read at once on the way back.
	seekBlock = 64 << 10
	// maxLineSeek is how far back the beginning of one line is looked for.
	maxLineSeek = 1 << 20
)

// LastLines gives a position from which a stream has at least n complete lines, or all that there are, and whether a
// line begins there for certain. It reads back from the end, little more than those lines.
func LastLines(dyno string, s Stream, n int) (offset int64, clean bool, err error) {
	far, err := delivered(dyno)
	if err != nil {
		return 0, true, err
	}
	l, tail, err := survey(dyno, s, far)
	if err != nil {
		return 0, true, err
	}
	newlines := 0
	l.back(Dir(dyno, s), tail, func(at int64, block []byte) bool {
		for i := len(block); i > 0; {
			if i = bytes.LastIndexByte(block[:i], '\n'); i < 0 {
				break
			}
			if newlines++; newlines > n { // the newline before those lines
				offset, clean = at+int64(i)+1, true
				return false
			}
		}
		return true
	})
	if clean {
		return offset, true, nil
	}
	return First(dyno, s)
}

// Since gives a position before which every line began before t, and whether a line begins there for certain. It looks
// at a few times only, and takes clocks for something that goes forward.
func Since(dyno string, s Stream, t time.Time) (offset int64, clean bool, err error) {
	dir := Dir(dyno, s)
	l, err := List(dir)
	if err != nil || len(l.Segments) == 0 {
		return 0, true, err
	}
	i := sort.Search(len(l.Segments), func(i int) bool { return !firstTime(dir, l.Segments[i]).Before(t) })
	if i == 0 {
		return First(dyno, s)
	}
	pos := lastMark(dir, l.Segments[i-1], func(m Mark) bool { return m.Time.Before(t) })
	offset, clean = l.lineStart(dir, max(pos, l.Segments[i-1]))
	return offset, clean, nil
}

// firstTime is when the first byte of a segment arrived, as Reader tells it.
func firstTime(dir string, start int64) time.Time {
	var buf [MarkSize]byte
	if f, err := openRegular(filepath.Join(dir, fileName(start, marksSuffix)), os.O_RDONLY); err == nil {
		defer f.Close()
		if _, err := f.ReadAt(buf[:], 0); err == nil {
			if m, ok := ParseMark(buf[:]); ok {
				return m.Time
			}
		}
	}
	if fi, err := os.Lstat(filepath.Join(dir, fileName(start, segmentSuffix))); err == nil {
		return fi.ModTime()
	}
	return time.Time{}
}

// lastMark is the position of a segment's last mark for which holds, which must hold up to some mark and then not; the
// segment's start if there is none.
func lastMark(dir string, start int64, holds func(Mark) bool) int64 {
	f, err := openRegular(filepath.Join(dir, fileName(start, marksSuffix)), os.O_RDONLY)
	if err != nil {
		return start
	}
	defer f.Close()
	if m, ok := readMark(f, searchMarks(f, holds)-1); ok {
		return m.Offset
	}
	return start
}

// searchMarks is the number of the first whole mark in f for which holds does not.
func searchMarks(f *os.File, holds func(Mark) bool) int {
	fi, err := f.Stat()
	if err != nil {
		return 0
	}
	return sort.Search(int(fi.Size()/MarkSize), func(i int) bool {
		m, ok := readMark(f, i)
		return !ok || !holds(m)
	})
}

func readMark(f *os.File, i int) (Mark, bool) {
	var buf [MarkSize]byte
	if i < 0 {
		return Mark{}, false
	}
	if _, err := f.ReadAt(buf[:], int64(i)*MarkSize); err != nil {
		return Mark{}, false
	}
	return ParseMark(buf[:])
}

// seek leaves out the marks that say nothing of the byte at offset and those behind it.
func (c *clock) seek(offset int64) {
	if c.file == nil {
		return
	}
	i := searchMarks(c.file, func(m Mark) bool { return m.Offset <= offset })
	c.read = int64(max(i-1, 0)) * MarkSize
}

// lineStart gives where the line that holds the byte before pos begins, or pos itself if a line begins there; pos and
// false where that is gone or too far back.
func (l Listing) lineStart(dir string, pos int64) (offset int64, clean bool) {
	offset, clean = pos, pos == 0 || l.ended(pos)
	if clean {
		return offset, true
	}
	l.back(dir, pos, func(at int64, block []byte) bool {
		if clean = at+int64(len(block)) != offset; clean { // bytes are missing: what is before offset is another line
			return false
		}
		if i := bytes.LastIndexByte(block, '\n'); i >= 0 {
			offset, clean = at+int64(i)+1, true
			return false
		}
		offset, clean = at, at == 0 || l.ended(at)
		return !clean && pos-at < maxLineSeek
	})
	if !clean {
		return pos, false
	}
	return offset, true
}

// back gives the bytes before pos in blocks, the last one first, until take says no or a segment cannot be read.
func (l Listing) back(dir string, pos int64, take func(at int64, block []byte) bool) {
	buf := make([]byte, seekBlock)
	for i := len(l.Segments) - 1; i >= 0; i-- {
		if l.Segments[i] >= pos {
			continue
		}
		size, _ := regularSize(filepath.Join(dir, fileName(l.Segments[i], segmentSuffix)))
		pos = min(pos, l.Segments[i]+size)
		if pos = backIn(dir, l.Segments[i], pos, buf, take); pos != l.Segments[i] {
			return
		}
	}
}

// backIn is back for one segment. It gives how far back it came.
func backIn(dir string, start, pos int64, buf []byte, take func(at int64, block []byte) bool) int64 {
	f, err := openRegular(filepath.Join(dir, fileName(start, segmentSuffix)), os.O_RDONLY)
	if err != nil {
		return pos
	}
	defer f.Close()
	for pos > start {
		n := min(pos-start, int64(len(buf)))
		if _, err := f.ReadAt(buf[:n], pos-n-start); err != nil || !take(pos-n, buf[:n]) {
			return pos
		}
		pos -= n
	}
	return pos
}
