package spool

import "errors"

// Oldest gives the positions up to which whole segments may go so that a dyno's spool shrinks by at least so many
// bytes, as far as c allows: nothing at or above c, and no segment that is being written.
func Oldest(dyno string, c Cursor, size int64) (Cursor, error) {
	var errs []error
	var upTo Cursor
	for _, s := range Streams {
		l, err := List(Dir(dyno, s))
		if len(l.Segments) == 0 || err != nil {
			errs = append(errs, err)
			continue
		}
		sizes, err := l.sizes(Dir(dyno, s))
		errs = append(errs, err)
		for i := 1; i < len(sizes) && l.Segments[i] <= c[s] && size > 0; i++ {
			size -= sizes[i-1]
			upTo[s] = l.Segments[i]
		}
	}
	return upTo, errors.Join(errs...)
}
