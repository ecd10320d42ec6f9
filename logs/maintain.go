package logs

import (
	"context"
	"errors"
	"io/fs"
	"time"

	"github.com/dynod/dynod/logs/spool"
)

const (
	// saveEvery and saveBytes are how often cursors become durable at the latest: what a killed agent sends twice.
	saveEvery = time.Second
	saveBytes = 256 << 10 // delivered of one stream
)

// maintain makes cursors durable and trims what they allow, until ctx ends and once more then.
func (l *Logs) maintain(ctx context.Context) {
	tick := time.NewTicker(saveEvery)
	defer tick.Stop()
	for ctx.Err() == nil {
		select {
		case <-tick.C:
		case <-l.kick:
		case <-ctx.Done():
		}
		for _, d := range l.each() {
			l.save(d)
		}
	}
}

// saveAfter is saveBytes, or less for a spool so small that it must be trimmed sooner.
func (l *Logs) saveAfter() int64 { return min(saveBytes, spool.SegmentBytes(l.cfg.SpoolBytes)) }

// save makes one dyno's cursor durable if it moved; only then may segments go.
func (l *Logs) save(d *dyno) {
	l.mu.Lock()
	cursor, moved := d.cursor()
	l.mu.Unlock()
	if !moved {
		return
	}
	err := cursor.Store(l.dir(d.id))
	if err == nil {
		l.mu.Lock()
		d.saved = cursor
		l.mu.Unlock()
		err = spool.Trim(l.dir(d.id), cursor, l.cfg.KeepBytes)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) { // gone: removed meanwhile
		l.log.Warn("spool not trimmed", "dyno", d.id, "error", err)
	}
}

// cursor is how far the dyno is delivered, and whether that is not durable yet. The caller holds Logs.mu.
func (d *dyno) cursor() (spool.Cursor, bool) {
	var c spool.Cursor
	for _, s := range d.streams {
		c[s.Stream] = s.acked
	}
	return c, c != d.saved && !d.removed
}
