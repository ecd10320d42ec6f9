package spool

import (
	"errors"
	"io/fs"
	"os"
	"slices"
)

// Listing is what a stream's directory holds, by position, ascending.
type Listing struct {
	Segments []int64
	Marks    []int64
	Ends     []int64
	Losses   []int64
}

// List reads the names in a stream's directory; foreign names are skipped, and what is no directory of ours is empty. It is no
// snapshot: of two files made while it runs, the younger may be seen without the older.
func List(dir string) (Listing, error) {
	var l Listing
	f, err := openFolder(dir, streamDepth)
	if errors.Is(err, fs.ErrNotExist) || foreign(err) {
		return l, nil
	}
	if err != nil {
		return l, err
	}
	defer f.Close()
	return f.list()
}

func (d folder) list() (l Listing, err error) {
	names, err := d.Readdirnames(-1)
	for _, name := range names {
		l.add(name)
	}
	slices.Sort(l.Segments)
	slices.Sort(l.Marks)
	slices.Sort(l.Ends)
	slices.Sort(l.Losses)
	return l, err
}

func (l *Listing) add(name string) {
	switch offset, suffix, ok := ParseName(name); {
	case !ok:
	case suffix == segmentSuffix:
		l.Segments = append(l.Segments, offset)
	case suffix == marksSuffix:
		l.Marks = append(l.Marks, offset)
	case suffix == endSuffix:
		l.Ends = append(l.Ends, offset)
	case suffix == lostSuffix:
		l.Losses = append(l.Losses, offset)
	}
}

// ended tells whether a life ended at this position.
func (l Listing) ended(offset int64) bool {
	_, found := slices.BinarySearch(l.Ends, offset)
	return found
}

// First is the position of the oldest byte that may still be there, and whether a line begins there for certain.
func First(dyno string, s Stream) (offset int64, clean bool, err error) {
	l, err := List(Dir(dyno, s))
	if err != nil || len(l.Segments) == 0 {
		return 0, true, err
	}
	offset = l.Segments[0]
	return offset, offset == 0 || l.ended(offset), nil
}

// Tail is the position after the last byte of a stream: where its next byte will be. A position that was once
// delivered is never given to another byte, even if the segment that held it was damaged.
func Tail(dyno string, s Stream) (int64, error) {
	far, err := delivered(dyno)
	if err != nil {
		return 0, err
	}
	_, tail, err := survey(dyno, s, far)
	return tail, err
}

// Tails is Tail of every stream, at less cost. It is 0 for those of which the error is.
func Tails(dyno string) (tails Cursor, err error) {
	far, err := delivered(dyno)
	if err != nil {
		return tails, err
	}
	var errs []error
	for _, s := range Streams {
		_, tails[s], err = survey(dyno, s, far)
		errs = append(errs, err)
	}
	return tails, errors.Join(errs...)
}

// survey lists a stream of which the receivers have been told up to far, and finds its end.
func survey(dyno string, s Stream, far Cursor) (l Listing, tail int64, err error) {
	d, err := openFolder(Dir(dyno, s), streamDepth)
	if gone(err) {
		return l, far[s], nil
	}
	if err != nil {
		return l, 0, err
	}
	defer d.Close()
	if l, err = d.list(); err == nil {
		tail, err = d.tail(l, far[s])
	}
	return l, tail, err
}

func (d folder) tail(l Listing, far int64) (int64, error) {
	tail := far
	for _, offsets := range [][]int64{l.Ends, l.Losses} {
		if n := len(offsets); n > 0 {
			tail = max(tail, offsets[n-1])
		}
	}
	last, marked := d.lastMark(l) // before the sizes, which grow
	segments := l.Segments
	if n := len(l.Marks); n > 0 {
		segments = append(slices.Clip(segments), l.Marks[n-1]) // it may be younger than the listing
	}
	for _, start := range segments {
		size, err := d.size(fileName(start, segmentSuffix))
		if err != nil && !broken(err) {
			return 0, err
		}
		tail = max(tail, start+min(size, maxFile))
	}
	if marked && last.Offset > tail { // cut off: there were bytes up to there and more
		tail = last.Offset + margin
	}
	return tail, nil
}

// lastMark is the last mark of the stream.
func (d folder) lastMark(l Listing) (Mark, bool) {
	n := len(l.Marks)
	if n == 0 {
		return Mark{}, false
	}
	f, err := d.open(fileName(l.Marks[n-1], marksSuffix), 0)
	if err != nil {
		return Mark{}, false
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil || fi.Size() > maxFile {
		return Mark{}, false
	}
	m, ok := readMark(f, int(fi.Size()/MarkSize)-1)
	return m, ok && m.Offset < l.Marks[n-1]+maxFile
}

// Present is how many bytes of a stream are there from a position on.
func Present(dyno string, s Stream, from int64) (there int64, err error) {
	l, err := List(Dir(dyno, s))
	if err != nil || len(l.Segments) == 0 {
		return 0, err
	}
	sizes, err := l.sizes(Dir(dyno, s))
	for i, size := range sizes {
		there += max(0, l.Segments[i]+size-max(l.Segments[i], from))
	}
	return there, err
}

// sizes are how many bytes the segments hold, without holes behind them.
func (l Listing) sizes(dir string) ([]int64, error) {
	d, err := openFolder(dir, streamDepth)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	sizes := make([]int64, len(l.Segments))
	for i, start := range l.Segments {
		size, _ := d.size(fileName(start, segmentSuffix))
		sizes[i] = min(size, l.after(start)-start)
	}
	return sizes, nil
}

// Usage is how many bytes the files of a dyno's streams have together, or take on disk where that is less.
func Usage(dyno string) (int64, error) {
	var sum int64
	for _, s := range Streams {
		n, err := usage(Dir(dyno, s))
		if err != nil && !errors.Is(err, fs.ErrNotExist) && !foreign(err) {
			return 0, err
		}
		sum += n
	}
	return sum, nil
}

func usage(dir string) (int64, error) {
	d, err := openFolder(dir, streamDepth)
	if err != nil {
		return 0, err
	}
	defer d.Close()
	names, err := d.Readdirnames(-1)
	var sum int64
	for _, name := range names {
		if st, err := d.stat(name); err == nil {
			sum += min(st.Size, st.Blocks*512) // a sparse file takes less than it shows
		}
	}
	return sum, err
}

// Seal marks the end of a life at the tail of a stream that nobody writes any more. It is repeatable, and does nothing
// for a stream without bytes.
func Seal(dyno string, s Stream) error {
	tail, err := Tail(dyno, s)
	if err != nil || tail == 0 {
		return err
	}
	d, err := openFolder(Dir(dyno, s), streamDepth)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // a cursor without a directory: nothing was left unfinished
	}
	if err != nil {
		return err
	}
	defer d.Close()
	return d.makeEnd(tail)
}

func (d folder) makeEnd(offset int64) error {
	f, err := d.open(fileName(offset, endSuffix), os.O_CREATE|os.O_WRONLY)
	if err != nil {
		return err
	}
	return f.Close()
}
