package logs

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/containerd/errdefs"

	"github.com/dynod/dynod/logs/spool"
)

// platform is a dyno's platform stream, which the agent itself writes.
type platform struct {
	sync.Mutex
	writer *spool.Writer // nil: not open
	muted  bool          // for good
	sealed bool          // its end is marked
}

// Platform appends one line to the dyno's platform stream. Newlines in text are written as \n. A line that the disk does
// not take, or that is more than waits of a dyno at most, is an error and told as lost at its place.
func (l *Logs) Platform(ctx context.Context, id string, at time.Time, text string) error {
	if err := errors.Join(checkID(id), ctx.Err()); err != nil {
		return err
	}
	l.mu.Lock()
	d := l.find(id)
	l.mu.Unlock()
	end, err := l.say(d, at, []byte(strings.ReplaceAll(text, "\n", `\n`)+"\n"))
	if err != nil {
		return fmt.Errorf("write platform line: %w", err)
	}
	l.wrote(d, end)
	return nil
}

// wrote takes in where the platform stream ends.
func (l *Logs) wrote(d *dyno, end int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := d.stream(Platform)
	s.end = max(s.end, end)
	l.announce(s)
	d.tell()
}

func (l *Logs) say(d *dyno, at time.Time, line []byte) (int64, error) {
	room := l.platformRoom(d)
	p := &d.platform
	p.Lock()
	defer p.Unlock()
	if err := l.openPlatform(d); err != nil {
		return 0, err
	}
	if p.sealed = false; int64(len(line)) > room {
		p.writer.Lose(line, at)
		return 0, fmt.Errorf("too much waits for delivery: %w", errdefs.ErrResourceExhausted)
	}
	err := p.writer.Append(line, at)
	l.said.Store(true)
	return p.writer.Offset(), err
}

// openPlatform goes on with the platform stream. A line that the agent before did not finish ends there. The caller
// holds the platform's lock.
func (l *Logs) openPlatform(d *dyno) error {
	p := &d.platform
	if p.muted {
		return fmt.Errorf("dyno %s: %w", d.id, errdefs.ErrNotFound)
	}
	if p.writer != nil {
		return nil
	}
	w, err := spool.OpenWriter(l.dir(d.id), Platform, spool.SegmentBytes(l.cfg.SpoolBytes))
	if err != nil {
		return err
	}
	if begun, _, err := spool.LastLines(l.dir(d.id), Platform, 0); err == nil && begun < w.Offset() {
		_ = w.End() // before the next byte if not now
	}
	p.writer = w
	return nil
}

// platformPart is the part of a dyno's bound, and of the host's, that undelivered platform lines may take.
const platformPart = 8

// platformRoom is how many bytes more may wait for delivery upstream.
func (l *Logs) platformRoom(d *dyno) int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	bound := l.cfg.SpoolBytes
	if l.cfg.HostBytes > 0 {
		bound = min(bound, l.cfg.HostBytes/int64(max(1, len(l.dynos))))
	}
	s := d.stream(Platform)
	return bound/platformPart - s.backlog()
}

// syncAll has the disk keep what the platform says, within a second or two, until ctx ends; capture does so for the rest.
func (l *Logs) syncAll(ctx context.Context) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		if l.said.Swap(false) {
			if err := spool.Sync(l.cfg.SpoolDir); err != nil {
				l.log.Warn("a power cut may take platform lines", "error", err)
			}
		}
	}
}

// sealPlatform marks the end of what the platform says of a finished dyno: what is missing there has no other place to be
// told at. Maintain tries again what the disk refuses.
func (l *Logs) sealPlatform(d *dyno) {
	p := &d.platform
	p.Lock()
	defer p.Unlock()
	if p.sealed || p.muted {
		return
	}
	var end int64
	var err error
	if p.writer != nil {
		end, err = p.writer.Offset(), p.writer.End()
	} else {
		err = spool.Seal(l.dir(d.id), Platform)
	}
	if err != nil {
		l.log.Warn("end of a stream is not marked", "dyno", d.id, "stream", Platform.String(), "error", err)
		return
	}
	p.sealed = true
	l.wrote(d, end)
}

// sealPlatforms tries again.
func (l *Logs) sealPlatforms() {
	for _, d := range l.each() {
		l.mu.Lock()
		finished := d.finished
		l.mu.Unlock()
		if finished {
			l.sealPlatform(d)
		}
	}
}

// mute closes the platform stream's files; final: no line will be written any more.
func (d *dyno) mute(final bool) {
	p := &d.platform
	p.Lock()
	defer p.Unlock()
	p.muted = p.muted || final
	if p.writer != nil {
		_ = p.writer.Close()
	}
	p.writer = nil
}
