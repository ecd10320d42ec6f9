package spool

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// Trim removes whole segments of a dyno that are delivered, oldest first in each stream, as long as keep bytes of what
// is delivered stay. The segment that is being written always stays. The cursor must be durable before.
func Trim(dyno string, c Cursor, keep int64) error {
	var errs []error
	var delivered int64 // bytes of the dyno that are still there and need not be
	var listings [len(Streams) + 1]Listing
	var sizes [len(Streams) + 1][]int64
	for _, s := range Streams {
		l, err := List(Dir(dyno, s))
		if len(l.Segments) > 0 && err == nil {
			listings[s] = l
			sizes[s], err = l.sizes(Dir(dyno, s))
		}
		errs = append(errs, err)
		for i, size := range sizes[s] {
			delivered += max(0, min(size, c[s]-l.Segments[i]))
		}
	}
	for s, l := range listings {
		first := 0
		for first+1 < len(sizes[s]) && l.Segments[first+1] <= c[s] && delivered-sizes[s][first] >= keep {
			delivered -= sizes[s][first]
			first++
		}
		if len(l.Segments) > 0 {
			// The cursor is below the first segment where a stream begins with a hole that is not told yet.
			errs = append(errs, l.removeBefore(Dir(dyno, Stream(s)), min(l.Segments[first], c[s])))
		}
	}
	return errors.Join(errs...)
}

// removeBefore deletes every file that belongs to a position before first. Segments go first and in order: whatever
// interrupts it, what stays has no hole.
func (l Listing) removeBefore(dir string, first int64) error {
	d, err := openFolder(dir, streamDepth)
	if err != nil {
		return err
	}
	defer d.Close()
	for _, group := range []struct {
		offsets []int64
		suffix  string
	}{{l.Segments, segmentSuffix}, {l.Marks, marksSuffix}, {l.Ends, endSuffix}, {l.Losses, lostSuffix}} {
		for _, offset := range group.offsets {
			if offset >= first {
				break
			}
			err := d.remove(fileName(offset, group.suffix))
			if err != nil && !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.EISDIR) { // a directory is not ours
				return fmt.Errorf("remove from spool: %w", err)
			}
		}
	}
	return nil
}
