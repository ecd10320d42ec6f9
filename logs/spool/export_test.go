package spool

import "time"

// For the tests.
var (
	FileName    = fileName
	ParseCursor = parseCursor
	ParseLost   = parseLost

	ParseProgress  = parseProgress
	EncodeProgress = Progress.encode
)

// Encode is what the file of a hole holds.
func (l Lost) Encode() string { return l.encode() }

// Drop goes on with the hole, or begins one, by n bytes.
func (w *Writer) Drop(n, lines int64, now time.Time) {
	hole := Lost{From: w.pos, Since: now}
	if w.hole != nil {
		hole = *w.hole
	}
	hole.Lines += lines
	w.Skip(hole, w.pos+n)
}

// Settled tells whether everything is in the names.
func (w *Writer) Settled() bool { return w.settled() }
