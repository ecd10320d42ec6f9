package logs

import "time"

// Cutter lets the tests feed the line cutter without a spool.
type Cutter struct{ c cutter }

// NewCutter begins at a position.
func NewCutter(at int64) *Cutter { return &Cutter{cutter{end: at}} }

// Feed gives the lines that p completes.
func (c *Cutter) Feed(p []byte, at int64) (lines []Line) {
	c.c.feed(p, at)
	for {
		line, ok := c.c.next(func(offset int64) time.Time { return time.Unix(offset, 0) })
		if !ok {
			return lines
		}
		lines = append(lines, line)
	}
}

// Flush gives the unfinished line.
func (c *Cutter) Flush() (lines []Line) {
	if line, ok := c.c.flush(); ok {
		lines = append(lines, line)
	}
	return lines
}
