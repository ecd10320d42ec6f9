package logs

import (
	"context"

	"github.com/dynod/dynod/logs/spool"
)

// missing is what a line tells of messages that are gone.
func missing(line Line) spool.Loss {
	if line.Lost == 0 {
		return spool.Loss{}
	}
	loss := spool.Loss{Lines: max(1, line.LostLines), Since: line.LostSince}
	if loss.Since.IsZero() {
		loss.Since = line.Time
	}
	return loss
}

// miss counts what a line without text tells.
func (dr *drain) miss(line Line) {
	dr.mu.Lock()
	defer dr.mu.Unlock()
	if dr.moved { // counted already
		return
	}
	loss := missing(line)
	dr.done.Dropped = dr.done.Dropped.Plus(loss)
	dr.stats.dropped.Add(loss.Lines)
	dr.next[line.Stream] = line.End()
	dr.done.Cursor = dr.next
}

// skip counts what lies below a position as dropped, if it is not under way yet, and makes that durable: the segments
// may go.
func (dr *drain) skip(upTo spool.Cursor) error {
	dr.mu.Lock()
	for _, s := range spool.Streams {
		if dr.next[s] < upTo[s] {
			loss, end := dr.l.survey(Key{dr.d.id, s}, dr.next[s], upTo[s])
			dr.done.Dropped = dr.done.Dropped.Plus(loss)
			dr.stats.dropped.Add(loss.Lines)
			dr.next[s], dr.moved = end, true
		}
	}
	switch {
	case dr.load == nil:
		dr.done.Cursor = dr.next
	case dr.moved:
		dr.holed = true
	}
	dr.mu.Unlock()
	poke(dr.wake)
	_, err := dr.save()
	return err
}

// maxUnread is how many segments in a row may be unreadable until a survey is left at what it has.
const maxUnread = 16

// survey counts the lines that begin between two positions, and gives where the last of them ends.
func (l *Logs) survey(k Key, from, to int64) (loss spool.Loss, end int64) {
	src := newSource(l.dir(k.Dyno), k, from)
	defer src.close()
	end = from
	for unread := 0; end < to && unread < maxUnread; {
		line, ok, err := src.next()
		if err != nil {
			unread++
			continue
		}
		unread = 0
		if !ok || line.Offset >= to {
			break
		}
		loss = loss.Plus(missing(line))
		if line.Size > 0 {
			loss = loss.Plus(spool.Loss{Lines: 1, Since: line.Time})
		}
		end = line.End()
	}
	return loss, end
}

// relieve shrinks a dyno's spool that is nearly full because receivers are behind the upstream: they must not make
// capture drop what the upstream would take. What they miss is counted and told to them.
func (l *Logs) relieve(d *dyno, upstream, slowest spool.Cursor) error {
	if slowest == upstream {
		return nil
	}
	used, err := spool.Usage(l.dir(d.id))
	if err != nil || used <= l.cfg.SpoolBytes/4*3 {
		return err
	}
	upTo, err := spool.Oldest(l.dir(d.id), upstream, used-l.cfg.SpoolBytes/2)
	if err != nil {
		return err
	}
	for _, dr := range l.drainsOf(d) {
		if err := dr.skip(upTo); err != nil {
			return err
		}
	}
	return spool.Trim(l.dir(d.id), upTo, 0)
}

func (l *Logs) drainsOf(d *dyno) []*drain {
	l.mu.Lock()
	defer l.mu.Unlock()
	return d.drains
}

// drained returns when the receivers of a dyno have all of it, or were waited for long enough: what they then have
// not is given up.
func (l *Logs) drained(ctx context.Context, id string) error {
	patience, cancel := context.WithTimeout(ctx, l.cfg.ReceiverWait)
	defer cancel()
	var tails spool.Cursor
	for _, s := range spool.Streams {
		tails[s], _ = spool.Tail(l.dir(id), s)
	}
	var behind []*drain
	_ = l.await(patience, id, func(d *dyno) bool {
		behind = nil
		for _, dr := range d.drains {
			if !dr.beyond(tails) {
				behind = append(behind, dr)
			}
		}
		return len(behind) == 0
	})
	if ctx.Err() != nil {
		return ctx.Err()
	}
	for _, dr := range behind {
		dr.giveUp(tails)
	}
	return nil
}

// beyond tells that nothing before these positions is left to do.
func (dr *drain) beyond(tails spool.Cursor) bool {
	dr.mu.Lock()
	defer dr.mu.Unlock()
	return dr.load == nil && dr.next.Nearest(tails) == tails && dr.done.Dropped.Lines+dr.done.Lost.Lines == 0
}

// giveUp ends the drain and counts what its receiver did not get.
func (dr *drain) giveUp(tails spool.Cursor) {
	dr.l.mu.Lock()
	if dr.stop != nil {
		dr.stop()
	}
	dr.l.mu.Unlock()
	dr.mu.Lock()
	defer dr.mu.Unlock()
	var lost int64
	if dr.load != nil {
		lost = dr.load.lines
	}
	for _, s := range spool.Streams {
		loss, end := dr.l.survey(Key{dr.d.id, s}, dr.next[s], tails[s])
		lost += loss.Lines
		dr.next[s] = end
	}
	dr.load, dr.done = nil, spool.Progress{Cursor: dr.next}
	dr.stats.lost.Add(lost)
	dr.l.log.Warn("log lines for a receiver are given up", "dyno", dr.d.id, "receiver", dr.n, "lines", lost, "waited", dr.l.cfg.ReceiverWait)
}
