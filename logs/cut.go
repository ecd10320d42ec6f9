package logs

import (
	"bytes"
	"slices"
	"time"

	"github.com/dynod/dynod/logs/spool"
)

// cutter makes runs out of the bytes of one stream. The lines in them depend on the bytes alone, not on how they are
// divided when fed, and they are the same again from the start of any line.
type cutter struct {
	Key
	held  []byte     // beginning of a line whose end was not fed yet, at most MaxLine bytes
	since spool.Mark // of the first byte in held
	end   int64      // of the last run: what lies between it and the next one is lost
	lost  spool.Loss
}

// cut appends the runs that are complete in text, and holds the rest. text begins with what was held; marks date it
// from its first byte on.
func (c *cutter) cut(runs []Run, text []byte, marks []spool.Mark) []Run {
	at := marks[0].Offset
	for {
		n, continued := lines(text)
		if n == 0 {
			break
		}
		run := Run{Key: c.Key, Offset: at, Text: text, Time: marks[0].Time, Later: marks[1:]}.upTo(n)
		run.Later, run.Continued = slices.Clone(run.Later), continued // the marks are the feeder's memory
		runs = append(runs, c.done(run))
		text, at = text[n:], at+int64(n)
		for len(marks) > 1 && marks[1].Offset <= at {
			marks = marks[1:]
		}
	}
	c.hold(text, spool.Mark{Offset: at, Time: marks[0].Time})
	return runs
}

// lines is how much of a text is complete lines, up to one that has to be cut.
func lines(text []byte) (n int, continued bool) {
	for {
		// One byte more than a line may have: a newline right after MaxLine bytes still ends it.
		window := text[n:min(len(text), n+MaxLine+1)]
		if i := bytes.LastIndexByte(window, '\n'); i >= 0 {
			n += i + 1
			continue
		}
		if len(window) > MaxLine {
			return n + MaxLine, true
		}
		return n, false
	}
}

func (c *cutter) hold(text []byte, since spool.Mark) {
	if c.since = since; len(text) == 0 {
		c.held = nil // an idle stream keeps no memory
		return
	}
	c.held = append(c.held[:0], text...)
}

// flush appends the unfinished line, of which no byte will follow. Its text lies in buf.
func (c *cutter) flush(runs []Run, buf []byte) []Run {
	if len(c.held) == 0 {
		return runs
	}
	text := buf[:copy(buf, c.held)]
	c.held = nil
	return append(runs, c.done(Run{Key: c.Key, Offset: c.since.Offset, Text: text, Time: c.since.Time}))
}

// loss appends a run that only tells how much was lost before a position, if anything was.
func (c *cutter) loss(runs []Run, at int64, when time.Time) []Run {
	if at <= c.end {
		return runs
	}
	return append(runs, c.done(Run{Key: c.Key, Offset: at, Time: when}))
}

// missed notes what a gap says of the bytes that are missing; the next run tells it.
func (c *cutter) missed(lines int64, since time.Time) {
	c.lost = c.lost.Plus(spool.Loss{Lines: lines, Since: since})
}

func (c *cutter) done(r Run) Run {
	if r.Lost = r.Offset - c.end; r.Lost > 0 {
		r.LostLines, r.LostSince, c.lost = c.lost.Lines, c.lost.Since, spool.Loss{}
	}
	c.end = r.End()
	return r
}
