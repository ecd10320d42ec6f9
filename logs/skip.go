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
func (dr *drain) skip(ctx context.Context, upTo spool.Cursor) error {
	err := dr.pass(ctx, upTo, func(loss spool.Loss) {
		dr.done.Dropped = dr.done.Dropped.Plus(loss)
		dr.stats.dropped.Add(loss.Lines)
	})
	poke(dr.wake)
	if err == nil {
		_, err = dr.save()
	}
	return err
}

// pass moves next ahead to a position in each stream, and has count called, with mu held, for what that leaves out.
func (dr *drain) pass(ctx context.Context, upTo spool.Cursor, count func(spool.Loss)) error {
	for _, s := range spool.Streams {
		for more := true; more; {
			var err error
			if more, err = dr.step(s, upTo[s], count); err != nil {
				return err
			}
			if ctx.Err() != nil {
				return ctx.Err()
			}
		}
	}
	return nil
}

// step is pass for a few lines; false: no more of them begin before upTo. The spool is read without mu, for which others
// wait with Logs.mu held: if the drain itself went on meanwhile, nothing comes of it.
func (dr *drain) step(s Stream, upTo int64, count func(spool.Loss)) (bool, error) {
	dr.mu.Lock()
	from := dr.next[s]
	dr.mu.Unlock()
	loss, end, err := dr.l.survey(Key{dr.d.id, s}, from, upTo)
	if err != nil || end == from {
		return false, err
	}
	dr.mu.Lock()
	defer dr.mu.Unlock()
	if dr.next[s] != from {
		return true, nil
	}
	count(loss)
	dr.next[s], dr.moved = end, true
	if dr.load == nil {
		dr.done.Cursor = dr.next
	} else {
		dr.holed = true
	}
	return true, nil
}

const (
	// maxUnread is how often in a row a survey may fail: over a few segments that cannot be read.
	maxUnread = 8 * spool.MaxFails
	// surveyLines are counted at once.
	surveyLines = 1000
)

// survey counts lines that begin between two positions, the first ones, and gives where the last of them ends.
func (l *Logs) survey(k Key, from, to int64) (loss spool.Loss, end int64, err error) {
	src := newSource(l.dir(k.Dyno), k, from)
	defer src.close()
	end = from
	for n, unread := 0, 0; n < surveyLines && end < to; n++ {
		line, ok, err := src.next()
		if err != nil {
			if unread++; unread > maxUnread {
				return spool.Loss{}, from, err
			}
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
	return loss, end, nil
}

func (l *Logs) drainsOf(d *dyno) []*drain {
	l.mu.Lock()
	defer l.mu.Unlock()
	return d.drains
}

// drained returns when the receivers of a dyno have all of it, or were waited for long enough: what they then have
// not is given up.
func (l *Logs) drained(ctx context.Context, id string) error {
	tails, err := l.tails(ctx, id)
	if err != nil {
		return err
	}
	patience, cancel := context.WithTimeout(ctx, l.cfg.ReceiverWait)
	defer cancel()
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
		dr.giveUp(ctx, tails)
	}
	return ctx.Err()
}

// beyond tells that nothing before these positions is left to do.
func (dr *drain) beyond(tails spool.Cursor) bool {
	dr.mu.Lock()
	defer dr.mu.Unlock()
	return dr.load == nil && dr.next.Nearest(tails) == tails && dr.done.Dropped.Lines+dr.done.Lost.Lines == 0
}

// giveUp ends the drain and counts what its receiver did not get.
func (dr *drain) giveUp(ctx context.Context, tails spool.Cursor) {
	dr.l.mu.Lock()
	if dr.stop != nil {
		dr.stop()
	}
	dr.l.mu.Unlock()
	var lost int64
	dr.mu.Lock()
	if dr.load != nil {
		lost = dr.load.lines
	}
	dr.load, dr.ended = nil, true
	dr.mu.Unlock()
	err := dr.pass(ctx, tails, func(loss spool.Loss) { lost += loss.Lines })
	if ctx.Err() != nil {
		return
	}
	dr.mu.Lock()
	dr.next = dr.next.Furthest(tails)
	dr.done = spool.Progress{Cursor: dr.next}
	dr.mu.Unlock()
	dr.stats.lost.Add(lost)
	dr.l.log.Warn("log lines for a receiver are given up", "dyno", dr.d.id, "receiver", dr.n, "lines", lost, "waited", dr.l.cfg.ReceiverWait, "error", err)
}
