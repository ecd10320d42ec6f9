package spool

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
)

// Listing is what a stream's directory holds, by position, ascending.
type Listing struct {
	Segments []int64
	Marks    []int64
	Ends     []int64
}

// List reads the names in a stream's directory; foreign names are skipped and a missing directory is empty. It is no
// snapshot: of two files made while it runs, the younger may be seen without the older.
func List(dir string) (Listing, error) {
	var l Listing
	f, err := os.Open(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return l, nil
	}
	if err != nil {
		return l, err
	}
	defer f.Close()
	names, err := f.Readdirnames(-1)
	for _, name := range names {
		l.add(name)
	}
	slices.Sort(l.Segments)
	slices.Sort(l.Marks)
	slices.Sort(l.Ends)
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
	l, err := List(Dir(dyno, s))
	if err != nil {
		return 0, err
	}
	return l.tail(dyno, s), nil
}

func (l Listing) tail(dyno string, s Stream) int64 {
	var tail int64
	if n := len(l.Ends); n > 0 {
		tail = l.Ends[n-1]
	}
	for _, start := range l.Segments {
		tail = max(tail, start+regularSize(filepath.Join(Dir(dyno, s), fileName(start, segmentSuffix))))
	}
	if c, err := LoadCursor(dyno); err == nil {
		tail = max(tail, c[s])
	}
	return tail
}

// regularSize is the size of a regular file, 0 for anything else.
func regularSize(path string) int64 {
	fi, err := os.Lstat(path)
	if err != nil || !fi.Mode().IsRegular() {
		return 0
	}
	return fi.Size()
}

// Usage is how many bytes the files of a dyno's streams have together.
func Usage(dyno string) (int64, error) {
	var sum int64
	for _, s := range Streams {
		entries, err := os.ReadDir(Dir(dyno, s))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return 0, err
		}
		for _, e := range entries {
			sum += regularSize(filepath.Join(Dir(dyno, s), e.Name()))
		}
	}
	return sum, nil
}

// Seal marks the end of a life at the tail of a stream that nobody writes any more. It is repeatable, and does nothing
// for a stream without bytes.
func Seal(dyno string, s Stream) error {
	tail, err := Tail(dyno, s)
	if err != nil || tail == 0 {
		return err
	}
	err = makeEnd(Dir(dyno, s), tail)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // a cursor without a directory: nothing was left unfinished
	}
	return err
}

func makeEnd(dir string, offset int64) error {
	f, err := os.OpenFile(filepath.Join(dir, fileName(offset, endSuffix)), os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	return f.Close()
}
