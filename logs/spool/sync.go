package spool

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// Sync makes durable what a stream of a dyno holds from a position on: bytes, their times and the names of the files. It
// may run beside the writer, in another process.
func Sync(dyno string, s Stream, from int64) error {
	dir := Dir(dyno, s)
	l, err := List(dir)
	if err != nil {
		return fmt.Errorf("list segments: %w", err)
	}
	d, err := openFolder(dir, streamDepth)
	if errors.Is(err, fs.ErrNotExist) || foreign(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("open stream: %w", err)
	}
	defer d.Close()
	var errs []error
	for i, start := range l.Segments {
		if i+1 == len(l.Segments) || l.Segments[i+1] > from {
			errs = append(errs, d.sync(fileName(start, segmentSuffix)), d.sync(fileName(start, marksSuffix)))
		}
	}
	return errors.Join(append(errs, unix.Fsync(int(d.Fd())))...)
}

// sync makes a file durable; one that is gone, or not ours, need not be.
func (d folder) sync(name string) error {
	f, err := d.open(name, os.O_RDONLY)
	if gone(err) {
		return nil
	}
	if err != nil {
		return err
	}
	return errors.Join(unix.Fdatasync(int(f.Fd())), f.Close())
}
