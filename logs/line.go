package logs

import (
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
