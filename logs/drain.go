package logs

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"sync"
	"time"

	"github.com/containerd/errdefs"
	"github.com/google/uuid"

	"github.com/dynod/dynod/logs/logplex"
	"github.com/dynod/dynod/logs/spool"
	"github.com/dynod/dynod/logs/syslog"
)

// drain carries one dyno's lines to one receiver besides the upstream. A goroutine of its own reads and sends (drive);
// it holds one batch at most, and whatever its receiver does is nobody else's matter.
type drain struct {
	l      *Logs
	d      *dyno
	n      int // number of the receiver, from 1
	out    outlet
	origin syslog.Origin
	wake   chan struct{}
	stop   context.CancelFunc // nil: not begun
	stats  counters
	absent spool.Cursor // bytes that were missing between the receiver's position and the end when it was told
	unread trouble      // the goroutine's alone

	file  sync.Mutex     // its progress on disk is being written
	saved spool.Progress // durable at least

	mu    sync.Mutex
	done  spool.Progress // without what is under way
	next  spool.Cursor   // behind what is under way: what is read next
	load  *load          // under way, nil: nothing
	holed bool           // next was moved ahead since load departed
	moved bool           // next was moved ahead since the reading began
	ended bool           // given up: nothing departs any more
}

// load is a batch under way.
type load struct {
	logplex.Batch
	lines      int64 // of the dyno, without notices
	bytes      int64 // of their texts
	since      time.Time
	dropped    spool.Loss // told in it
	lost       spool.Loss // told in it
	beforehand spool.Loss // part of dropped: what was known of before the lines were read
}

// SetReceivers names the receivers of a dyno's lines besides the upstream, in an order that must be the same whenever
// it is told again: each goes on where it was. Once told it holds until the dyno is removed. An error is of the class
// errdefs.ErrInvalidArgument and holds no secret; the other receivers are served.
func (l *Logs) SetReceivers(id string, from Origin, receivers []Receiver) error {
	if err := checkID(id); err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	d := l.find(id)
	if d.drains != nil {
		return nil
	}
	var errs []error
	for i, r := range receivers {
		dr := &drain{l: l, d: d, n: i + 1, wake: make(chan struct{}, 1)}
		var err error
		if dr.out, dr.origin, err = l.outlets.open(r, from); err == nil && i >= MaxReceivers {
			err = fmt.Errorf("log receiver %d of at most %d: %w", dr.n, MaxReceivers, errdefs.ErrInvalidArgument)
		}
		if err != nil {
			errs = append(errs, err)
			continue
		}
		dr.resume()
		d.drains = append(d.drains, dr)
		l.drive(dr)
	}
	return errors.Join(errs...)
}

// resume finds how far the receiver was.
func (dr *drain) resume() {
	dir := dr.l.dir(dr.d.id)
	p, err := spool.LoadProgress(dir, dr.n)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		dr.l.log.Warn("progress unreadable: sending everything again", "dyno", dr.d.id, "receiver", dr.n, "error", err)
		for _, s := range spool.Streams {
			p.Cursor[s], _, _ = spool.First(dir, s)
		}
	}
	dr.done, dr.saved, dr.next = p, p, p.Cursor
	for _, s := range dr.d.streams {
		dr.absent[s.Stream] = dr.l.missing(s, p.Cursor[s.Stream])
	}
}

// drive begins the drain's goroutine while Logs runs; before that Run does. The caller holds Logs.mu.
func (l *Logs) drive(dr *drain) {
	if l.life == nil || dr.stop != nil {
		return
	}
	var ctx context.Context
	ctx, dr.stop = context.WithCancel(l.life)
	l.drivers.Go(func() { dr.drive(ctx) })
}

// driveAll begins every drain that was told before Run.
func (l *Logs) driveAll(ctx context.Context) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.life = ctx
	for _, d := range l.dynos {
		for _, dr := range d.drains {
			l.drive(dr)
		}
	}
}

// parkAll returns when no drain's goroutine runs.
func (l *Logs) parkAll() {
	l.mu.Lock()
	l.life = nil
	for _, d := range l.dynos {
		for _, dr := range d.drains {
			if dr.stop != nil {
				dr.stop()
			}
		}
	}
	l.mu.Unlock()
	l.drivers.Wait()
}

// depart makes a batch out of what was read and has it under way. False: some of it is counted as missing by now.
func (dr *drain) depart(b bundle) (*load, bool) {
	dr.mu.Lock()
	defer dr.mu.Unlock()
	if dr.moved || dr.ended {
		return nil, false
	}
	ld := &load{lines: int64(len(b.lines)), bytes: int64(b.bytes), since: time.Now(), beforehand: dr.done.Dropped, lost: dr.done.Lost}
	if len(b.lines) > 0 {
		ld.since = b.lines[0].Time
	}
	ld.dropped = ld.beforehand.Plus(b.gap())
	ld.ID = uuid.NewSHA1(uuid.MustParse(dr.d.id), fmt.Append(nil, dr.n, dr.next, b.after, ld.dropped.Lines, ld.lost.Lines)).String()
	for _, loss := range []struct {
		code string
		spool.Loss
	}{{codeDropped, ld.dropped}, {codeLost, ld.lost}} {
		if loss.Lines > 0 {
			ld.add(dr.origin, notice(loss.code, loss.Loss, ld.since))
		}
	}
	for _, line := range b.lines {
		ld.add(dr.origin, message(line))
	}
	dr.done.Dropped, dr.done.Lost = spool.Loss{}, spool.Loss{}
	dr.next, dr.load, dr.holed = b.after, ld, false
	return ld, true
}

func (ld *load) add(o syslog.Origin, m syslog.Message) {
	var n int
	ld.Frames, n = syslog.AppendFrames(ld.Frames, o, m)
	ld.Messages += n
}

// arrive settles what was under way: delivered, or refused for good.
func (dr *drain) arrive(ld *load, refused bool) {
	dr.mu.Lock()
	if dr.load != ld { // given up meanwhile
		dr.mu.Unlock()
		return
	}
	dr.load, dr.done.Cursor = nil, dr.next
	if refused && ld.lines > 0 { // losses that nobody wants to hear of are not told again
		dr.done.Dropped = dr.done.Dropped.Plus(ld.dropped)
		dr.done.Lost = dr.done.Lost.Plus(ld.lost).Plus(spool.Loss{Lines: ld.lines, Since: ld.since})
	}
	dr.mu.Unlock()
	dr.stats.dropped.Add(ld.dropped.Lines - ld.beforehand.Lines)
	if refused {
		dr.stats.lost.Add(ld.lines)
	} else {
		dr.stats.batches.Add(1)
		dr.stats.lines.Add(ld.lines)
		dr.stats.bytes.Add(ld.bytes)
	}
	dr.note()
	dr.l.mu.Lock()
	defer dr.l.mu.Unlock()
	dr.d.tell()
}

// progress is what must be durable now: what would hold if the agent were killed. The caller holds mu.
func (dr *drain) progress() spool.Progress {
	p := dr.done
	if ld := dr.load; ld != nil {
		p.Dropped, p.Lost = p.Dropped.Plus(ld.beforehand), p.Lost.Plus(ld.lost)
		if dr.holed { // it could not be read again
			p.Cursor = dr.next
			p.Dropped = p.Dropped.Plus(spool.Loss{Lines: ld.lines, Since: ld.since})
		}
	}
	return p
}

// save makes the progress durable and gives the cursor that is.
func (dr *drain) save() (spool.Cursor, error) {
	dr.file.Lock()
	defer dr.file.Unlock()
	dr.mu.Lock()
	p := dr.progress()
	dr.mu.Unlock()
	if p == dr.saved {
		return p.Cursor, nil
	}
	err := p.Store(dr.l.dir(dr.d.id), dr.n)
	if err == nil {
		dr.saved = p
	}
	return dr.saved.Cursor, err
}

// note writes the progress down, so that an agent that is killed sends nothing twice but what was under way.
func (dr *drain) note() {
	dr.file.Lock()
	defer dr.file.Unlock()
	dr.mu.Lock()
	p := dr.progress()
	dr.mu.Unlock()
	if err := p.Note(dr.l.dir(dr.d.id), dr.n); err != nil && !errors.Is(err, fs.ErrNotExist) { // gone: removed meanwhile
		dr.l.log.Warn("progress of a log receiver is not written", "dyno", dr.d.id, "receiver", dr.n, "error", err)
	}
}
