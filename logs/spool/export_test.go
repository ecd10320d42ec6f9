package spool

import (
	"bytes"
	"time"
)

// For the tests.
var (
	FileName    = fileName
	ParseCursor = parseCursor
	ParseLost   = parseLost
	BeginBoot   = begin

	ParseProgress  = parseProgress
	EncodeProgress = Progress.encode
)

// Margin is how far a stream goes on behind a place where positions may have been given.
const Margin = margin

// Encode is what the file of a hole holds.
func (l Lost) Encode() string { return l.encode() }

// Drop loses n bytes with so many lines.
func (w *Writer) Drop(n, lines int64, now time.Time) {
	w.Lose(append(make([]byte, n-lines), bytes.Repeat([]byte{'\n'}, int(lines))...), now)
}

// Settled tells whether everything is in the names.
func (w *Writer) Settled() bool { return w.settled() }
