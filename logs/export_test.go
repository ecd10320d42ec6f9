package logs

import (
	"slices"
	"time"

	"github.com/dynod/dynod/logs/spool"
)

// Cutter lets the tests feed the line cutter without a spool.
type Cutter struct{ c cutter }

// NewCutter begins at a position.
func NewCutter(at int64) *Cutter { return &Cutter{cutter{end: at}} }

// Feed gives the runs that p completes. The time of every byte is its position, but changes every third byte only.
func (c *Cutter) Feed(p []byte, at int64) []Run {
	if len(p) == 0 {
		return nil // a piece of a stream is never empty
	}
	var marks []spool.Mark
	text := slices.Concat(c.c.held, p)
	if len(c.c.held) > 0 {
		marks = append(marks, c.c.since)
	}
	for i := at; i < at+int64(len(p)); i++ {
		if i == at || i%3 == 0 {
			marks = append(marks, spool.Mark{Offset: i, Time: time.Unix(i-i%3, 0)})
		}
	}
	return c.c.cut(nil, text, marks)
}

// Flush gives the unfinished line.
func (c *Cutter) Flush() []Run { return c.c.flush(nil, make([]byte, MaxLine)) }

// Overtaken has a stream of a dyno in its turn, while another one comes and then it itself again, having read all or not,
// and says whether the other one is next.
func Overtaken(read int, more bool) bool {
	var t turns
	d := &dyno{share: newShare()}
	app, platform := &stream{dyno: d}, &stream{dyno: d}
	t.push(app)
	t.pop()
	t.push(platform)
	app.row += read
	t.again(app, !more)
	next, _ := t.pop()
	return next == platform
}

// Halve divides runs as poison is looked for.
func Halve(runs []Run) [][]Run { return halve(runs) }
