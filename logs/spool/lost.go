package spool

import (
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"time"

	"golang.org/x/sys/unix"
)

// Lost says what is known of a hole that was made by decision. Its end is the name of the file.
type Lost struct {
	From  int64     // position of the first byte that was discarded
	Lines int64     // newlines among the bytes
	Since time.Time // when the first of them was discarded
}

// maxSmall bounds the files that hold one line of text.
const maxSmall = 256

// encode gives the only valid text: the reader compares, so any damage shows.
func (l Lost) encode() string {
	text := fmt.Sprintf("lost 1 %d %d %d", l.From, l.Lines, l.Since.UnixNano())
	return fmt.Sprintf("%s %08x\n", text, crc32.ChecksumIEEE([]byte(text)))
}

// parseLost reads what is known of the hole that ends at end.
func parseLost(b []byte, end int64) (Lost, bool) {
	var l Lost
	var nanos int64
	var sum uint32
	_, err := fmt.Sscanf(string(b), "lost 1 %d %d %d %08x\n", &l.From, &l.Lines, &nanos, &sum)
	l.Since = time.Unix(0, nanos).UTC()
	sane := l.From >= 0 && l.From <= end && l.Lines >= 0 && l.Lines <= end-l.From
	return l, err == nil && string(b) == l.encode() && sane
}

// unnamedLost is a file whose text is being written.
const unnamedLost = "unnamed" + lostSuffix

// writeLost counts a hole by the name of a file. It gets the name when its text is complete: a kill in between would leave
// bytes whose lines nobody knows.
func (d folder) writeLost(l Lost, end int64) error {
	f, err := d.create(unnamedLost)
	if err != nil {
		return err
	}
	_, err = f.WriteString(l.encode())
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	name := fileName(end, lostSuffix)
	if st, err := d.stat(name); err != nil && st.Mode != 0 { // not ours
		_ = unix.Renameat(int(d.Fd()), name, int(d.Fd()), name+foreignSuffix)
	}
	return unix.Renameat(int(d.Fd()), unnamedLost, int(d.Fd()), name)
}

// readLost reads what is known of the hole that ends at end; false: nothing.
func (d folder) readLost(end int64) (Lost, bool, error) {
	b, err := d.readSmall(fileName(end, lostSuffix))
	if gone(err) || broken(err) {
		return Lost{}, false, nil
	}
	if err != nil {
		return Lost{}, false, err
	}
	l, ok := parseLost(b, end)
	return l, ok, nil
}

// readSmall reads a file of which more than maxSmall bytes cannot be ours.
func (d folder) readSmall(name string) ([]byte, error) {
	f, err := d.open(name, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxSmall))
}

// lost adds up what is known of the holes between two positions. A hole that was counted again when it had grown is
// found twice: the later file tells of all of it.
func (l Listing) lost(dir string, from, to int64) (lines int64, since time.Time, err error) {
	d, err := openFolder(dir, streamDepth)
	if gone(err) {
		return 0, since, nil
	}
	if err != nil {
		return 0, since, err
	}
	defer d.Close()
	begun := to
	for i := len(l.Losses) - 1; i >= 0 && l.Losses[i] > from; i-- {
		if l.Losses[i] > begun {
			continue
		}
		hole, ok, err := d.readLost(l.Losses[i])
		if err != nil {
			return 0, since, err
		}
		if ok {
			lines, since, begun = lines+hole.Lines, hole.Since, hole.From
		}
	}
	return min(lines, to-from), since, nil
}

// Skip has a hole end at end, after which the stream goes on. It may be told of the same hole again when that has grown.
// The count is in the names before the stream's next byte, before the end of its life, and when Close has returned nil.
func (w *Writer) Skip(hole Lost, end int64) {
	_ = w.release()
	w.pos, w.hole = max(w.pos, end), &hole
}

// Lose has the stream go on as if p had been written: it is a hole, or more of the one that the stream ends with.
func (w *Writer) Lose(p []byte, now time.Time) {
	hole := Lost{From: w.pos, Since: now}
	if w.hole != nil {
		hole = *w.hole
	}
	hole.Lines += int64(bytes.Count(p, []byte{'\n'}))
	w.Skip(hole, w.pos+int64(len(p)))
}

// settled tells whether every hole and every end of a life is in the names.
func (w *Writer) settled() bool { return w.hole == nil && len(w.ends) == 0 }

// settle makes the names of the hole and of the ends of lives that have none yet.
func (w *Writer) settle() error {
	if w.settled() {
		return nil
	}
	d, err := makeFolder(w.dir, streamDepth)
	if err != nil {
		return fmt.Errorf("count hole: %w", err)
	}
	defer d.Close()
	if w.hole != nil {
		if err := d.writeLost(*w.hole, w.pos); err != nil {
			return fmt.Errorf("count hole: %w", err)
		}
	}
	w.hole = nil
	for ; len(w.ends) > 0; w.ends = w.ends[1:] {
		if err := d.makeEnd(w.ends[0]); err != nil {
			return fmt.Errorf("mark end of stream: %w", err)
		}
	}
	return nil
}
