package agent

import (
	"context"
	"errors"
	"time"

	"github.com/dynod/dynod/agent/dyno"
)

// retryRelease is how long to wait before a clean-up that failed is tried again.
const retryRelease = 5 * time.Second

// end writes down how a life ended, after its last output. A nil exit: it was stopped before its command ran.
func (r *runner) end(ctx context.Context, exit *dyno.Exit) {
	r.facts.pid = 0
	if exit == nil {
		next, err := r.rec.Cancelled(time.Now())
		r.note(ctx, next, err)
		return
	}
	if exit.Code >= 0 {
		r.held.closePipes() // of a plan that was never handed over
		_ = r.do(ctx, drainLimit, r.held.drained)
		for _, line := range r.rec.LastLines(*exit) {
			r.say(ctx, line)
		}
		r.say(ctx, dyno.LineExited(exit.Code))
	} else if exit.Error == dyno.R99 && !r.rec.Started.IsZero() {
		r.say(ctx, dyno.LinePlatform(exit.Failure))
	}
	next, err := r.rec.Exited(*exit)
	r.note(ctx, next, err)
}

// release gives back all that a life took, and tries until it is done or ctx ends: the next agent goes on then.
func (r *runner) release(ctx context.Context) { r.releaseBy(ctx, r.held.release) }

func (r *runner) releaseBy(ctx context.Context, step func(context.Context) error) {
	for ctx.Err() == nil {
		err := r.do(ctx, releaseLimit, step)
		if err == nil {
			break
		}
		r.log.Error("clean up", "err", err)
		r.idle(ctx, retryRelease)
	}
	if ctx.Err() != nil || !r.rec.Ended() {
		return
	}
	r.Logs.Finish(r.rec.ID)
	r.ledger.free(r.rec.ID)
	if !r.rec.Released {
		next := r.rec
		next.Released, next.Stuck = true, false
		r.note(ctx, next, nil)
	}
}

// idle waits while orders are answered.
func (r *runner) idle(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
			return
		case o := <-r.orders:
			r.obey(ctx, o)
		case <-ctx.Done():
			return
		}
	}
}

// rest keeps an ended dyno visible until its end and its last line are acknowledged and the time is over; then it is
// forgotten.
func (r *runner) rest(ctx context.Context) {
	r.idle(ctx, time.Until(r.rec.Since.Add(r.cfg.KeepFinished)))
	for r.cfg.AwaitReports && !r.rec.Reported && ctx.Err() == nil {
		select {
		case o := <-r.orders:
			r.obey(ctx, o)
		case <-ctx.Done():
		}
	}
	shipped := r.do(ctx, maxShipping, r.held.shipped)
	if ctx.Err() != nil {
		return
	}
	if shipped != nil {
		r.log.Warn("log lines of a finished dyno are given up", "err", shipped)
	}
	for ctx.Err() == nil {
		err := errors.Join(r.Logs.Remove(ctx, r.rec.ID), r.Store.Remove(r.rec.ID))
		if err == nil {
			r.board.drop(r.rec.ID)
			return
		}
		r.log.Error("forget", "err", err)
		r.idle(ctx, retryRelease)
	}
}

// maxShipping bounds how long the lines of a finished dyno are kept for an upstream that does not take them.
const maxShipping = 24 * time.Hour
