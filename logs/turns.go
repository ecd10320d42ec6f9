package logs

import (
	"cmp"
	"slices"
	"time"

	"golang.org/x/time/rate"
)

const (
	// turnBytes are read of one stream before the next one's turn; of a dyno that has just come firstBytes, so that many
	// that come at once wait for each other a little.
	turnBytes  = 32 << 10
	firstBytes = 2 << 10
	// rowBytes are read of one stream while others of the same dyno wait, each turn counted as turnCost at least.
	rowBytes = 64 << 10
	turnCost = 2 << 10
	// shareRate and shareBurst are what a dyno may say, in bytes a second and at once, and still go before those that
	// wait for another turn. It is no limit: what nobody else wants is its too.
	shareRate  = 64 << 10
	shareBurst = 128 << 10
	// maxAhead is how many turns in a row may go to dynos that have just come, while others wait.
	maxAhead = 16
)

// turns says whose stream is next. A dyno that has just something to say, and has said little, goes before those that
// have had a turn and have more; each of the two lines is served in order. So a quiet dyno waits for a few turns, and
// not for one of everybody. A dyno has one turn whatever its streams. Logs.mu guards it.
type turns struct {
	fresh []*dyno
	more  []*dyno
	ahead int // turns that went to fresh ones since one went to the others
}

func newShare() *rate.Limiter { return rate.NewLimiter(shareRate, shareBurst) }

// push gives a stream a turn; it must have none yet. fresh: all that was there before is read, and what there is now has come
// since.
func (t *turns) push(s *stream, fresh bool) {
	if s.dyno.wait(s); len(s.dyno.waiting) == 1 {
		t.line(s.dyno, fresh)
	}
}

// wait puts a stream among those of its dyno that wait. They are in their order, so that what the app said last goes before the
// platform's word of its end; only one that had a long row goes behind the others.
func (d *dyno) wait(s *stream) {
	at := slices.IndexFunc(d.waiting, func(o *stream) bool { return o.Stream > s.Stream })
	if at < 0 || s == d.turn && d.row >= rowBytes {
		at = len(d.waiting)
	}
	d.waiting = slices.Insert(d.waiting, at, s)
}

// read takes in that so many bytes were read of the stream that had the last turn, and whether it is to have another one.
func (d *dyno) read(cost int, again bool) {
	if d.row += max(cost, turnCost); !again && len(d.waiting) == 0 {
		d.turn, d.row = nil, 0
	}
}

// anew has the streams that wait in their order, as if none had been read.
func (d *dyno) anew() {
	d.turn, d.row = nil, 0
	slices.SortFunc(d.waiting, func(a, b *stream) int { return cmp.Compare(a.Stream, b.Stream) })
}

func (t *turns) line(d *dyno, fresh bool) {
	if fresh && d.within(time.Now()) {
		t.fresh = append(t.fresh, d)
	} else {
		t.more = append(t.more, d)
	}
}

// pop gives the next stream and how many bytes it may bring, nil if none waits.
func (t *turns) pop() (s *stream, quantum int) {
	d, fresh := t.next()
	if d == nil {
		return nil, 0
	}
	if s = d.waiting[0]; s != d.turn {
		d.turn, d.row = s, 0
	}
	if d.waiting = d.waiting[1:]; len(d.waiting) > 0 {
		t.line(d, fresh)
	}
	if fresh {
		return s, firstBytes
	}
	return s, turnBytes
}

func (t *turns) next() (d *dyno, fresh bool) {
	from := &t.more
	if fresh = len(t.fresh) > 0 && (t.ahead < maxAhead || len(t.more) == 0); fresh {
		from = &t.fresh
		t.ahead++
	} else {
		t.ahead = 0
	}
	if len(*from) == 0 {
		return nil, false
	}
	d, *from = (*from)[0], (*from)[1:]
	return d, fresh
}

func (d *dyno) within(now time.Time) bool { return d.share.TokensAt(now) > 0 }

// charge takes what was read out of the dyno's share. Its debt stays below one turn's worth.
func (d *dyno) charge(now time.Time, cost int) {
	if d.within(now) {
		d.share.ReserveN(now, min(cost, shareBurst))
	}
}
