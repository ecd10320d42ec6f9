package logs

import (
	"context"
	"os"
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
	app, platform := &stream{Key: Key{Stream: Stdout}, dyno: d}, &stream{Key: Key{Stream: Platform}, dyno: d}
	t.push(app, true)
	t.pop()
	t.push(platform, true)
	d.read(read, true)
	t.push(app, !more)
	next, _ := t.pop()
	return next == platform
}

// Row has streams of a dyno come to wait in that order, and gives the order in which they have their turns.
func Row(waiting ...Stream) (order []Stream) {
	var t turns
	d := &dyno{share: newShare()}
	for _, s := range waiting {
		t.push(&stream{Key: Key{Stream: s}, dyno: d}, true)
	}
	for s, _ := t.pop(); s != nil; s, _ = t.pop() {
		order = append(order, s.Stream)
	}
	return order
}

// Trickle is how many turns an app has that always has a little more, all of which is read, while the platform waits.
func Trickle() (n int) {
	var t turns
	d := &dyno{share: newShare()}
	app, platform := &stream{Key: Key{Stream: Stdout}, dyno: d}, &stream{Key: Key{Stream: Platform}, dyno: d}
	t.push(platform, true)
	for t.push(app, true); ; t.push(app, true) {
		if s, _ := t.pop(); s == platform {
			return n
		}
		d.read(1, false)
		n++
	}
}

// Rewound has an app and the platform read, the app again and again until it comes behind the platform, and then trouble
// upstream: it gives the order in which they are read again.
func Rewound() (order []Stream) {
	s := &shipper{Logs: &Logs{}, sources: map[*stream]*source{}, batch: newCargo()}
	d := &dyno{share: newShare()}
	app, platform := &stream{Key: Key{Stream: Stdout}, dyno: d}, &stream{Key: Key{Stream: Platform}, dyno: d}
	s.sources[app], s.sources[platform] = newSource("", app.Key, 0), newSource("", platform.Key, 0)
	s.enqueue(app)
	s.pop()
	s.enqueue(platform)
	s.endTurn(app, rowBytes, true)
	s.rewind()
	for st, _, _ := s.pop(); st != nil; st, _, _ = s.pop() {
		order = append(order, st.Stream)
	}
	return order
}

// Turn has the shipper read a stream of a dyno that has its directory in dir, of which it has heard up to end, and gives the
// text of that turn.
func Turn(dir, id string, of Stream, end int64) (text string) {
	s := &shipper{Logs: &Logs{cfg: Config{SpoolDir: dir}}, sources: map[*stream]*source{}, batch: newCargo()}
	st := &stream{Key: Key{id, of}, dyno: &dyno{share: newShare()}}
	s.take(st, turnBytes, end)
	for _, r := range s.batch.runs {
		text += string(r.Text)
	}
	return text
}

// Halve divides runs as poison is looked for.
func Halve(runs []Run) [][]Run { return halve(runs) }

// Holds tells whether capture holds pipes of this dyno that have not reached end of file.
func (l *Logs) Holds(ctx context.Context, id string) (bool, error) {
	if _, err := l.connected(ctx); err != nil {
		return false, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	d := l.dynos[id]
	return d != nil && d.held(), nil
}

// RestoreStdout is how far Restore comes if the agent is killed in the middle.
func (l *Logs) RestoreStdout(ctx context.Context, id string, kept []*os.File) error {
	if _, err := l.connected(ctx); err != nil {
		return err
	}
	return l.restore(ctx, Key{id, Stdout}, int(kept[0].Fd()), int(kept[2].Fd()))
}
