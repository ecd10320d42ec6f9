package spool

import (
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"
)

// Writer appends to one stream. Being killed at any moment costs no byte that left the pipe and counts none twice: the
// kernel moves bytes and file size together, and the next writer begins at that size. It is used by one goroutine.
type Writer struct {
	dir      string
	segment  int64 // bytes at which a segment is full
	pos      int64
	hole     *Lost    // ends at pos and is not in the names yet
	ends     []int64  // of lives, not in the names yet
	file     *os.File // nil: the next byte begins a segment at pos
	start    int64
	marks    *os.File // nil until the segment's first byte
	marked   int64    // bytes in marks
	dated    time.Time
	appended int64
}

// OpenWriter continues the stream s of a dyno. Segments are begun anew at segment bytes. Only a directory that cannot
// be read is an error; one that cannot be made is made when there are bytes for it.
func OpenWriter(dyno string, s Stream, segment int64) (*Writer, error) {
	far, err := delivered(dyno)
	if err != nil {
		return nil, fmt.Errorf("find end of stream: %w", err)
	}
	w := &Writer{dir: Dir(dyno, s), segment: min(segment, maxFile), pos: far[s]}
	d, err := openFolder(w.dir, streamDepth)
	if gone(err) {
		if d, err = makeFolder(w.dir, streamDepth); err == nil {
			_ = d.Close()
		}
		return w, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list segments: %w", err)
	}
	defer d.Close()
	l, err := d.list()
	if err != nil {
		return nil, fmt.Errorf("list segments: %w", err)
	}
	if w.pos, err = d.tail(l, far[s]); err != nil {
		return nil, fmt.Errorf("find end of stream: %w", err)
	}
	if n := len(l.Segments); n > 0 {
		w.resume(d, l.Segments[n-1], l.ended(w.pos))
	}
	return w, nil
}

// resume goes on in the last segment if it ends where the stream does, without the end of a life in between.
func (w *Writer) resume(d folder, start int64, ended bool) {
	name := fileName(start, segmentSuffix)
	size, err := d.size(name)
	if err != nil || start+size != w.pos || size > 0 && (ended || size >= w.segment) {
		return
	}
	if f, err := d.open(name, os.O_RDWR); err == nil { // otherwise not ours: the stream goes on beside it
		w.file, w.start = f, start
	}
}

// Offset is the position of the next byte.
func (w *Writer) Offset() int64 { return w.pos }

// Appended counts the bytes by which the files grew since the writer was opened, marks included.
func (w *Writer) Appended() int64 { return w.appended }

// Splice moves up to limit bytes out of the pipe fd into the stream, dated now, and never waits for the pipe. 0 and a
// nil error mean end of file, unix.EAGAIN that the pipe is empty. After other errors the bytes are still in the pipe.
func (w *Writer) Splice(fd int, limit int64, now time.Time) (int64, error) {
	if n, err := Available(fd); err != nil || n == 0 {
		return 0, err
	}
	if err := w.ready(now); err != nil {
		return 0, err
	}
	at := w.pos - w.start
	n, err := unix.Splice(fd, nil, int(w.file.Fd()), &at, int(min(limit, w.segment-at)), unix.SPLICE_F_NONBLOCK)
	if err != nil {
		return 0, err
	}
	w.grow(n)
	return n, nil
}

// Append adds p, dated now. After an error a part of it may be there; the rest is a hole, counted with its lines.
func (w *Writer) Append(p []byte, now time.Time) error {
	n, err := w.put(p, now)
	if err != nil {
		w.Lose(p[n:], now)
	}
	return err
}

// put writes what it can of p.
func (w *Writer) put(p []byte, now time.Time) (done int, err error) {
	if err := w.ready(now); err != nil {
		return 0, err
	}
	for done < len(p) {
		n, err := unix.Pwrite(int(w.file.Fd()), p[done:], w.pos-w.start) // File.WriteAt forgets what it wrote before an error
		if err != nil && !errors.Is(err, unix.EINTR) {
			return done, fmt.Errorf("write segment: %w", err)
		}
		done += max(0, n)
		w.grow(int64(max(0, n)))
	}
	return done, nil
}

// End marks that a life ended here. After an error it is marked before the stream's next byte, at the latest by Close.
func (w *Writer) End() error {
	if w.file != nil && w.pos > w.start {
		_ = w.release()
	}
	if n := len(w.ends); n == 0 || w.ends[n-1] != w.pos {
		w.ends = append(w.ends, w.pos)
	}
	return w.settle()
}

// Close gives the files back, with a last mark that shows how long the segment is. After an error about names that are not
// made yet it may be called again.
func (w *Writer) Close() error {
	if w.marks != nil && w.pos > w.start {
		_ = w.mark(w.dated)
	}
	return errors.Join(w.settle(), w.release())
}

// Available is how many bytes a pipe holds. 0 and a nil error mean end of file, unix.EAGAIN that it is only empty.
func Available(fd int) (int64, error) {
	n, err := unix.IoctlGetInt(fd, unix.TIOCINQ)
	if err != nil || n > 0 {
		return int64(n), err
	}
	poll := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	if _, err := unix.Poll(poll, 0); err != nil {
		return 0, err
	}
	switch re := poll[0].Revents; {
	case re&unix.POLLIN != 0: // came just now
		if n, err = unix.IoctlGetInt(fd, unix.TIOCINQ); err != nil || n > 0 {
			return int64(n), err
		}
	case re&unix.POLLHUP != 0:
		return 0, nil
	}
	return 0, unix.EAGAIN
}

// ready opens a segment with room for a byte and dates that byte.
func (w *Writer) ready(now time.Time) error {
	if w.file != nil && (w.full() || w.gone()) {
		_ = w.release()
	}
	if w.file == nil {
		if err := w.open(); err != nil {
			return err
		}
	}
	return w.mark(now)
}

func (w *Writer) full() bool {
	return w.pos > w.start && (w.pos-w.start >= w.segment || w.marked >= w.segment)
}

// gone tells that somebody removed the file: nobody will read what is written to it.
func (w *Writer) gone() bool {
	var st unix.Stat_t
	return unix.Fstat(int(w.file.Fd()), &st) != nil || st.Nlink == 0
}

// open begins a segment at the present position.
func (w *Writer) open() error {
	if w.pos > maxOffset {
		return fmt.Errorf("make segment: position out of range: %w", errdefs.ErrOutOfRange)
	}
	if err := w.settle(); err != nil {
		return err
	}
	d, err := makeFolder(w.dir, streamDepth)
	if err != nil {
		return fmt.Errorf("make segment: %w", err)
	}
	defer d.Close()
	f, err := d.create(fileName(w.pos, segmentSuffix))
	if err != nil {
		return fmt.Errorf("make segment: %w", err)
	}
	w.file, w.start = f, w.pos
	return nil
}

func (w *Writer) mark(now time.Time) error {
	if w.marks == nil {
		if err := w.openMarks(); err != nil {
			return fmt.Errorf("make times: %w", err)
		}
	}
	var buf [MarkSize]byte
	if _, err := w.marks.WriteAt(AppendMark(buf[:0], Mark{w.pos, now}), w.marked); err != nil {
		return fmt.Errorf("write time: %w", err)
	}
	w.dated = now
	w.marked += MarkSize
	w.appended += MarkSize
	return nil
}

func (w *Writer) openMarks() error {
	d, err := makeFolder(w.dir, streamDepth)
	if err != nil {
		return err
	}
	defer d.Close()
	name := fileName(w.start, marksSuffix)
	size, err := d.size(name)
	if err != nil {
		return err
	}
	if size == 0 || size > maxFile {
		w.marks, err = d.create(name)
		w.marked = 0
		return err
	}
	w.marks, err = d.open(name, os.O_RDWR)
	w.marked = size - size%MarkSize
	return err
}

func (w *Writer) grow(n int64) {
	w.pos += n
	w.appended += n
}

func (w *Writer) release() error {
	w.closeMarks()
	if w.file == nil {
		return nil
	}
	err := w.file.Close()
	w.file = nil
	return err
}

func (w *Writer) closeMarks() {
	if w.marks != nil {
		_ = w.marks.Close()
	}
	w.marks, w.marked = nil, 0
}
