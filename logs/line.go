package logs

import (
	"bytes"
	"time"

	"github.com/dynod/dynod/logs/spool"
)

// Stream names one of a dyno's streams of bytes.
type Stream = spool.Stream

// The streams of a dyno.
const (
	Stdout   = spool.Stdout
	Stderr   = spool.Stderr
	Platform = spool.Platform
)

// MaxLine is the longest text of one Line in bytes; longer lines are cut into such pieces.
const MaxLine = 10_000

// Line is one message. (Dyno, Stream, Offset) is its identity: whoever has bytes up to Offset+Size drops it.
type Line struct {
	Dyno      string
	Stream    Stream
	Offset    int64     // position of its first byte
	Size      int64     // bytes of the stream that it covers, its newline included; 0: it only tells what was Lost
	Time      time.Time // when its first byte was read
	Text      []byte    // without the newline: any bytes
	Continued bool      // cut at MaxLine: the same line goes on in the next Line of the stream
	Lost      int64     // bytes right before Offset that were dropped
	LostLines int64     // lines among them; 0: unknown
	LostSince time.Time // when that began; zero: unknown
}

// End is the position after the line.
func (l Line) End() int64 { return l.Offset + l.Size }

// Key names a stream of a dyno.
type Key struct {
	Dyno   string
	Stream Stream
}

// cutter makes lines out of the bytes of one stream. What it gives depends on the bytes alone, not on how they are
// divided when fed, and it is the same again from the start of any line that it gave.
type cutter struct {
	Key
	rest   []byte // fed, not looked at yet; the feeder's memory
	at     int64  // position of rest
	held   []byte // beginning of a line whose end was not fed yet, at most MaxLine bytes
	offset int64  // position of held
	time   time.Time
	end    int64 // of the last line: what lies between it and the next one is lost
	lost   spool.Loss
	spare  []byte // for texts
}

// spareBytes are allocated for texts at once.
const spareBytes = 4 << 10

// feed gives the bytes at a position; everything fed before must be used up.
func (c *cutter) feed(p []byte, at int64) { c.rest, c.at = p, at }

// next gives the next line that is complete. clock is asked when the byte at a position was read.
func (c *cutter) next(clock func(int64) time.Time) (Line, bool) {
	if len(c.rest) == 0 {
		return Line{}, false
	}
	if len(c.held) == 0 {
		c.offset, c.time = c.at, clock(c.at)
	}
	// One byte more than a piece may have: a newline right after MaxLine bytes still ends their line.
	window := c.rest[:min(len(c.rest), MaxLine+1-len(c.held))]
	switch i := bytes.IndexByte(window, '\n'); {
	case i >= 0:
		line := c.take(i)
		c.rest, c.at = c.rest[1:], c.at+1
		line.Size++
		return c.done(line), true
	case len(c.held)+len(window) > MaxLine:
		line := c.take(MaxLine - len(c.held))
		line.Continued = true
		return c.done(line), true
	}
	c.held = append(c.held, window...)
	c.rest, c.at = nil, c.at+int64(len(window))
	return Line{}, false
}

// flush gives the unfinished line: no byte of it will follow.
func (c *cutter) flush() (Line, bool) {
	if len(c.held) == 0 {
		return Line{}, false
	}
	return c.done(c.take(0)), true
}

// loss gives a line that only tells how much was lost before a position, if anything was.
func (c *cutter) loss(at int64, when time.Time) (Line, bool) {
	if at <= c.end {
		return Line{}, false
	}
	return c.done(Line{Dyno: c.Dyno, Stream: c.Stream, Offset: at, Time: when}), true
}

// missed notes what a gap says of the bytes that are missing; the next line tells it.
func (c *cutter) missed(lines int64, since time.Time) {
	c.lost = c.lost.Plus(spool.Loss{Lines: lines, Since: since})
}

// take makes a line of what is held and n bytes more.
func (c *cutter) take(n int) Line {
	text := append(append(c.room(len(c.held)+n), c.held...), c.rest[:n]...)
	c.held = nil
	c.rest, c.at = c.rest[n:], c.at+int64(n)
	return Line{
		Dyno: c.Dyno, Stream: c.Stream, Offset: c.offset, Size: int64(len(text)), Time: c.time, Text: text,
	}
}

// room gives memory for a text of n bytes: short ones share a piece.
func (c *cutter) room(n int) []byte {
	if c.spare == nil || n > len(c.spare) {
		if n > spareBytes/4 {
			return make([]byte, 0, n)
		}
		c.spare = make([]byte, spareBytes)
	}
	text := c.spare[:0:n]
	c.spare = c.spare[n:]
	return text
}

func (c *cutter) done(l Line) Line {
	l.Lost = l.Offset - c.end
	if l.Lost > 0 {
		l.LostLines, l.LostSince, c.lost = c.lost.Lines, c.lost.Since, spool.Loss{}
	}
	c.end = l.End()
	return l
}
