package logs

import (
	"time"

	"golang.org/x/time/rate"
)

const (
	quantumLines = 32       // of one stream before the next one's turn
	quantumBytes = 64 << 10 // of one stream's texts likewise
	// shareRate and shareBurst are what a dyno may have delivered, in bytes a second and at once, before the others
	// go first. It is no limit: what nobody else wants is its too.
	shareRate  = 256 << 10
	shareBurst = 256 << 10
	// lineCost is what a line costs beside its text.
	lineCost = 64
)

// turns says whose stream is next: dynos within their share before those beyond it, round robin among the former and
// the longest waiting first among the latter. A dyno has one turn whatever its streams. Logs.mu guards it.
type turns struct {
	ready  []*dyno // not looked at since they came
	beyond []*dyno // those that were beyond their share then
}

func newShare() *rate.Limiter { return rate.NewLimiter(shareRate, shareBurst) }

// push gives a stream a turn; it must have none yet.
func (t *turns) push(s *stream) {
	d := s.dyno
	if d.waiting = append(d.waiting, s); len(d.waiting) == 1 {
		t.ready = append(t.ready, d)
	}
}

// pop gives the next stream, nil if none waits.
func (t *turns) pop(now time.Time) *stream {
	d := t.next(now)
	if d == nil {
		return nil
	}
	s := d.waiting[0]
	if d.waiting = d.waiting[1:]; len(d.waiting) > 0 {
		t.ready = append(t.ready, d)
	}
	return s
}

func (t *turns) next(now time.Time) *dyno {
	if len(t.beyond) > 0 && t.beyond[0].within(now) { // by now
		return take(&t.beyond)
	}
	for len(t.ready) > 0 {
		d := take(&t.ready)
		if d.within(now) {
			return d
		}
		t.beyond = append(t.beyond, d)
	}
	if len(t.beyond) == 0 {
		return nil
	}
	return take(&t.beyond)
}

func take(line *[]*dyno) *dyno {
	d := (*line)[0]
	*line = (*line)[1:]
	return d
}

func (d *dyno) within(now time.Time) bool { return d.share.TokensAt(now) > 0 }

// charge takes what was read out of the dyno's share. Its debt stays below one turn's worth.
func (d *dyno) charge(now time.Time, cost int) {
	if d.within(now) {
		d.share.ReserveN(now, min(cost, shareBurst))
	}
}
