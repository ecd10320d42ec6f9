package agent

import (
	"context"
	"syscall"
	"time"

	"github.com/containerd/errdefs"

	"github.com/dynod/dynod/agent/dyno"
)

// supervise watches a running dyno until it is gone or ctx ends.
func (r *runner) supervise(ctx context.Context, waited <-chan waiting) (exit *dyno.Exit, left bool) {
	inner, cancel := context.WithCancel(ctx)
	defer cancel()
	listening := r.probe(inner)
	vitals := r.watch(inner)
	var cleared <-chan error // of the last resort against a process that survives SIGKILL
	for {
		r.attend(ctx)
		r.terminate(ctx)
		due, at := r.rec.NextDue()
		if cleared != nil || r.held.exited { // its exit is about to be told
			due = dyno.Nothing
		}
		timer := after(due, at)
		select {
		case w := <-waited:
			timer.Stop()
			if ctx.Err() != nil {
				return nil, true
			}
			return r.exitOf(w), false
		case o := <-r.orders:
			r.obey(ctx, o)
		case <-r.unsaved:
			r.save()
		case <-r.guest.lost(r.rec):
			r.abandon(ctx)
		case <-listening:
			listening = nil
			r.up(ctx)
		case v := <-vitals:
			r.judge(ctx, v)
		case <-timer.C:
			if due == dyno.KillFailed {
				cleared = r.clear(ctx)
				break
			}
			r.act(ctx, due)
		case err := <-cleared:
			cleared = nil
			r.stuck(ctx, err)
		case <-ctx.Done():
			timer.Stop()
			return nil, true
		}
		timer.Stop()
	}
}

// after is a timer for what is due; one that never fires for nothing.
func after(due dyno.Due, at time.Time) *time.Timer {
	if due == dyno.Nothing {
		t := time.NewTimer(time.Hour)
		t.Stop()
		return t
	}
	return time.NewTimer(time.Until(at))
}

// soonest is when a listener is first looked for: hardly a program is there before, and a look takes time from it.
const soonest = 2 * time.Millisecond

// probe looks for a listener on $PORT, more and more seldom: what boots in a time is seen at most a quarter of it later, or
// 2 to 100 ms. Nil for a dyno that needs none.
func (r *runner) probe(ctx context.Context) <-chan struct{} {
	if r.rec.Phase != dyno.Starting || !r.rec.Spec.Web() {
		return nil
	}
	listening := make(chan struct{})
	id, port := r.rec.ID, r.rec.Spec.Port
	go func() {
		for begun := time.Now(); ; {
			select {
			case <-time.After(min(max(time.Since(begun)/4, soonest), 100*time.Millisecond)):
			case <-ctx.Done():
				return
			}
			if ok, err := r.Network.Listening(ctx, id, port); err == nil && ok {
				close(listening)
				return
			}
		}
	}()
	return listening
}

func (r *runner) up(ctx context.Context) {
	if r.rec.Phase == dyno.Starting && r.rec.Killed.IsZero() {
		r.Meter.Booted(ctx, r.rec.Started)
		next, err := r.rec.To(dyno.Up, time.Now())
		r.note(ctx, next, err)
	}
}

// terminate sends SIGTERM once for a stop order.
func (r *runner) terminate(ctx context.Context) {
	if r.rec.Stop == nil || r.rec.Stop.Sent || !r.rec.Killed.IsZero() {
		return
	}
	if r.rec.Stop.Reason != "" {
		r.say(ctx, r.rec.Stop.Reason)
	}
	r.say(ctx, dyno.LineStopping)
	r.signal(ctx, syscall.SIGTERM)
	stop := *r.rec.Stop
	stop.Sent, stop.At = true, time.Now() // grace counts from here
	next := r.rec
	next.Stop = &stop
	r.note(ctx, next, nil)
}

// act does what is due.
func (r *runner) act(ctx context.Context, due dyno.Due) {
	switch due {
	case dyno.BootExpired:
		r.kill(ctx, dyno.R10, dyno.LineBootTimeout(r.rec.Spec.BootTimeout), dyno.LineKilling)
	case dyno.GraceOver:
		r.kill(ctx, dyno.R12, dyno.LineExitTimeout(r.rec.Stop.Grace), dyno.LineRemaining)
	case dyno.AttachExpired:
		r.kill(ctx, dyno.R13, dyno.LineAttachTimeout, dyno.LineKilling)
	case dyno.HangUp, dyno.HangUpFailed:
		r.hangUp(ctx, due)
	case dyno.LifeOver:
		next, err := r.rec.Stopped(r.rec.Generation, -1, "Time to live is over", time.Now())
		r.note(ctx, next, err)
	}
}

// kill ends every process of the dyno at once.
func (r *runner) kill(ctx context.Context, why dyno.ErrorCode, lines ...string) {
	for _, line := range lines {
		r.say(ctx, line)
	}
	next := r.rec
	next.Killed, next.KilledFor = time.Now(), why
	r.note(ctx, next, nil)
	r.signal(ctx, syscall.SIGKILL)
}

func (r *runner) signal(ctx context.Context, sig syscall.Signal) {
	ctx, cancel := context.WithTimeout(ctx, callLimit)
	defer cancel()
	if err := r.Runtime.Signal(ctx, r.rec.ID, sig); err != nil && !errdefs.IsNotFound(err) {
		r.log.Error("signal", "signal", sig, "err", err)
	}
}

// clear is the last resort against a dyno that outlived SIGKILL: everything of it is removed by force.
func (r *runner) clear(ctx context.Context) <-chan error {
	cleared := make(chan error, 1)
	id := r.rec.ID
	go func() {
		ctx, cancel := context.WithTimeout(ctx, releaseLimit)
		defer cancel()
		cleared <- r.Runtime.Delete(ctx, id)
	}()
	return cleared
}

// stuck writes down that not even force ended the dyno; it is tried again.
func (r *runner) stuck(ctx context.Context, err error) {
	if err == nil {
		return // Wait says the rest
	}
	r.log.Error("dyno cannot be ended", "err", err)
	next := r.rec
	next.Stuck, next.Killed = true, time.Now()
	r.note(ctx, next, nil)
}

func (r *runner) exitOf(w waiting) *dyno.Exit {
	if w.err != nil {
		r.log.Error("wait", "err", w.err)
		exit := dyno.Lost("the runtime lost the dyno", time.Now())
		return &exit
	}
	exit := dyno.Exit{Code: w.exit.Code, Signal: w.exit.Signal, OOM: w.exit.OOM, At: w.exit.At}
	if exit.At.IsZero() {
		exit.At = time.Now()
	}
	exit = r.blame(exit, w.exit)
	return &exit
}
