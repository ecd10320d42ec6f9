package logs

import (
	"context"
	"errors"
	"io/fs"
	"slices"
	"time"

	"github.com/dynod/dynod/logs/spool"
)

const (
	// saveEvery and saveBytes are how often cursors become durable at the latest: what a killed agent sends twice.
	saveEvery = time.Second
	saveBytes = 4 << 20 // delivered of one stream
)

// maintain makes cursors durable and trims what they allow, until ctx ends.
func (l *Logs) maintain(ctx context.Context) {
	tick := time.NewTicker(saveEvery)
	defer tick.Stop()
	for ctx.Err() == nil {
		select {
		case <-tick.C:
			l.sealPlatforms()
			l.saveAll()
		case <-l.kick:
			l.saveFar()
		case <-ctx.Done():
		}
		poke(l.saved)
	}
}

func (l *Logs) saveAll() {
	for _, d := range l.each() {
		l.save(d)
	}
}

// saveFar saves the dynos of which much was delivered since.
func (l *Logs) saveFar() {
	for _, d := range l.each() {
		l.mu.Lock()
		far := slices.ContainsFunc(d.streams[:], l.far)
		l.mu.Unlock()
		if far {
			l.save(d)
		}
	}
}

// far tells that much was delivered of a stream since its cursor was saved. The caller holds mu.
func (l *Logs) far(s *stream) bool { return s.acked-s.dyno.saved[s.Stream] >= l.saveAfter() }

// saveAfter is saveBytes, or less for a spool so small that it must be trimmed sooner.
func (l *Logs) saveAfter() int64 { return min(saveBytes, spool.SegmentBytes(l.cfg.SpoolBytes)) }

// save makes durable how far one dyno's receivers are; only then may segments go.
func (l *Logs) save(d *dyno) {
	upstream, err := l.saveUpstream(d)
	now := reached{upstream, upstream}
	for _, dr := range l.drainsOf(d) {
		c, problem := dr.save()
		now.slowest, err = now.slowest.Nearest(c), errors.Join(err, problem)
	}
	if err == nil && now != l.reached(d) {
		if err = spool.Trim(l.dir(d.id), now.slowest, l.cfg.KeepBytes); err == nil {
			l.mu.Lock()
			d.reached = now
			l.mu.Unlock()
		}
	}
	if errors.Is(err, fs.ErrNotExist) { // removed meanwhile
		err = nil
	}
	if d.untrimmed.begins(err) {
		l.log.Warn("spool not trimmed", "dyno", d.id, "error", err)
	}
}

// saveUpstream gives the cursor that is durable, and makes it so if it moved.
func (l *Logs) saveUpstream(d *dyno) (spool.Cursor, error) {
	l.mu.Lock()
	cursor, moved := d.cursor()
	l.mu.Unlock()
	if !moved {
		return d.saved, nil
	}
	if err := cursor.Store(l.dir(d.id)); err != nil {
		return d.saved, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	d.saved = cursor
	return cursor, nil
}

// cursor is how far the dyno is delivered, and whether that is not durable yet. The caller holds Logs.mu.
func (d *dyno) cursor() (spool.Cursor, bool) {
	var c spool.Cursor
	for _, s := range d.streams {
		c[s.Stream] = s.acked
	}
	return c, c != d.saved && !d.removed
}
