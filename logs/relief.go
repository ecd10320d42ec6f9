package logs

import (
	"context"
	"errors"
	"io/fs"
	"slices"

	"github.com/dynod/dynod/logs/spool"
)

// reached is how far a dyno is delivered, durably.
type reached struct {
	upstream spool.Cursor
	slowest  spool.Cursor // of the upstream and all receivers
}

// lags tells that a segment or more may be kept for receivers alone.
func (l *Logs) lags(d *dyno) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	var bytes int64
	for s := range d.reached.upstream {
		bytes += d.reached.upstream[s] - d.reached.slowest[s]
	}
	return bytes >= spool.SegmentBytes(l.cfg.SpoolBytes)
}

// relieveAll shrinks spools that are nearly full because receivers are behind the upstream, whenever cursors were
// saved, until ctx ends: receivers must not make capture drop what the upstream would take. What they miss is counted
// and told to them. To count takes time, in which nobody but the next dyno waits.
func (l *Logs) relieveAll(ctx context.Context) {
	for {
		select {
		case <-l.saved:
		case <-ctx.Done():
			return
		}
		all := l.each()
		bound := l.bound(all)
		for _, d := range all {
			if err := l.relieve(ctx, d, bound); err != nil && ctx.Err() == nil && !errors.Is(err, fs.ErrNotExist) {
				l.log.Warn("spool of receivers that lag not trimmed", "dyno", d.id, "error", err)
			}
		}
	}
}

// bound is how much of the spool each dyno may have. Where receivers lag it is a part of the host's bound as soon as
// capture is about to share that out.
func (l *Logs) bound(all []*dyno) int64 {
	share := l.cfg.HostBytes / 2 / int64(max(1, len(all)))
	if l.cfg.HostBytes <= 0 || share >= l.cfg.SpoolBytes || !slices.ContainsFunc(all, l.lags) {
		return l.cfg.SpoolBytes
	}
	var sum int64
	for _, d := range all {
		used, _ := spool.Usage(l.dir(d.id)) // one that cannot be read is not shrunk either
		sum += used
	}
	if sum < l.cfg.HostBytes/8*3 {
		return l.cfg.SpoolBytes
	}
	return share
}

func (l *Logs) reached(d *dyno) reached {
	l.mu.Lock()
	defer l.mu.Unlock()
	return d.reached
}

// relieve lets go of half of a bound, of what the upstream has, once three quarters of it are used.
func (l *Logs) relieve(ctx context.Context, d *dyno, bound int64) error {
	if !l.lags(d) {
		return nil
	}
	used, err := spool.Usage(l.dir(d.id))
	if err != nil || used <= bound/4*3 {
		return err
	}
	upTo, err := spool.Oldest(l.dir(d.id), l.reached(d).upstream, used-bound/2)
	if err != nil {
		return err
	}
	for _, dr := range l.drainsOf(d) {
		if err := dr.skip(ctx, upTo); err != nil {
			return err
		}
	}
	return spool.Trim(l.dir(d.id), upTo, 0)
}
