package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/containerd/errdefs"

	"github.com/dynod/dynod/agent/dyno"
	"github.com/dynod/dynod/network"
)

// runner leads one dyno through its lives. Its goroutine (run) alone touches the record; everybody else asks.
// Two things end its waiting: ctx ends (the agent goes away and the dyno stays) or a stop order comes (the dyno goes).
type runner struct {
	Parts
	cfg    Config
	ledger *ledger
	queue  queue
	board  *board
	log    *slog.Logger

	rec    dyno.Record
	orders chan order
	quit   context.CancelFunc // makes run return; the dyno stays as it is
	done   chan struct{}      // closed when the runner has returned

	guest    *guest        // client of an attached dyno, once one has come in this life
	received chan struct{} // closed when the record of an attached dyno says whether it still awaits one
	ahead    *ahead        // the first life's holding, until that begins
	held     *holding      // what the newest life has taken from the host; its steps' while one runs
	facts    facts         // what is shown of it

	unsaved <-chan time.Time // fires when the record, which is noted only, is to be on the disk; nil: it is, or need not be
	refused bool             // the disk did not take the newest record that was to be there
}

// facts are what the board shows of a holding.
type facts struct {
	net network.Attachment
	pid int
}

// order is a change that somebody else wants in the record. It is made by the runner's goroutine.
type order struct {
	change func(dyno.Record) (dyno.Record, error)
	answer chan error // buffered
}

// errSame is the answer of a change that finds nothing to change; the asker sees nil.
var errSame = errors.New("no change")

// errGone says that the runner ended before it could answer.
var errGone = fmt.Errorf("the dyno has just been forgotten: %w", errdefs.ErrUnavailable)

// ask has the runner change its record, and returns when the change is durable.
func (r *runner) ask(ctx context.Context, change func(dyno.Record) (dyno.Record, error)) error {
	o := order{change, make(chan error, 1)}
	select {
	case r.orders <- o:
	case <-r.done:
		return errGone
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case err := <-o.answer:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// resume takes over a dyno as recovery decided, and runs it. release gives back what is left of an earlier life.
func (r *runner) resume(ctx context.Context, action dyno.Action, release func(context.Context) error) {
	switch action {
	case dyno.Finish:
		if r.rec.Phase == dyno.Crashed {
			r.note(ctx, r.rec.GivenUp(r.whyLost()), nil)
		} else {
			exit := dyno.Lost(r.whyLost(), time.Now())
			r.end(ctx, &exit)
		}
		r.release(ctx)
	case dyno.Boot, dyno.Settle: // what an earlier agent left half-done goes first
		r.releaseBy(ctx, r.inTurn(release))
	}
	r.run(ctx, action == dyno.Adopt)
}

// run leads the dyno from where its record stands to its end, and returns when it is forgotten or ctx ends.
func (r *runner) run(ctx context.Context, adopted bool) {
	r.nameReceivers(r.cfg.Host, r.rec)
	for ; !r.rec.Ended() && ctx.Err() == nil; adopted = false {
		if !r.pause(ctx) {
			continue
		}
		exit, left := r.life(ctx, adopted)
		if left {
			return
		}
		r.end(ctx, exit)
		r.dismiss(exit)
		r.release(ctx)
	}
	r.rest(ctx)
}

func (r *runner) whyLost() string {
	if r.rec.BootID != r.cfg.BootID {
		return "host reboot"
	}
	return "its container is gone"
}

// pause waits until the crash policy starts the next life. False: it will not, or not now.
func (r *runner) pause(ctx context.Context) bool {
	if r.rec.Phase != dyno.Crashed {
		return true
	}
	r.keepArtifact()
	timer := time.NewTimer(time.Until(r.rec.NextStart))
	defer timer.Stop()
	for r.rec.Phase == dyno.Crashed {
		select {
		case <-timer.C:
			next, err := r.rec.Again(r.cfg.BootID, time.Now())
			r.note(ctx, next, err)
		case o := <-r.orders:
			r.obey(ctx, o)
		case <-ctx.Done():
			return false
		}
	}
	if r.rec.Ended() {
		r.release(ctx) // the artifact that was kept, and the dyno's place on this host
	}
	return r.rec.Phase == dyno.Starting
}

// do runs one blocking step while orders are still answered.
func (r *runner) do(ctx context.Context, limit time.Duration, step func(context.Context) error) error {
	return r.step(ctx, limit, step, func() {})
}

// doUnlessStopped is do for steps towards a running dyno: a stop order cancels them.
func (r *runner) doUnlessStopped(ctx context.Context, limit time.Duration, step func(context.Context) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	obeyed := func() {
		if r.rec.Stop != nil {
			cancel()
		}
	}
	obeyed() // the stop may have come before the step
	return r.step(ctx, limit, step, obeyed)
}

// step returns when the step has ended; obeyed is called after each order.
func (r *runner) step(ctx context.Context, limit time.Duration, step func(context.Context) error, obeyed func()) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- step(ctx) }()
	for {
		select {
		case err := <-ended:
			return err
		case o := <-r.orders:
			r.obey(context.WithoutCancel(ctx), o)
			obeyed()
		}
	}
}

// obey carries out one order and answers it.
func (r *runner) obey(ctx context.Context, o order) {
	next, err := o.change(r.rec)
	switch {
	case errors.Is(err, errSame) && r.refused: // it is the same order again that the disk refused
		err = r.keep(r.rec)
	case errors.Is(err, errSame):
		err = nil
	case err == nil:
		err = r.change(ctx, next)
	}
	o.answer <- err
}

// settled is how long a dyno that has come up is left to itself before its record is synced.
const settled = time.Second

// change makes next the dyno's record: disk, then the app's log, then the board.
func (r *runner) change(ctx context.Context, next dyno.Record) error {
	before, shown := r.rec, r.rec.Shown()
	next.Revision = before.Revision + 1
	keep := r.Store.Note
	switch {
	case next.Weighs(before):
		keep, r.unsaved = r.keep, nil
	case next.Phase != before.Phase:
		r.unsaved = time.After(settled)
	}
	err := keep(next)
	r.rec = next
	r.Meter.Moved(before, next)
	if next.Shown() != shown {
		r.say(ctx, dyno.LineState(shown, next.Shown()))
	}
	r.show()
	return err
}

// note is change for facts, which are true whether the disk takes them or not.
func (r *runner) note(ctx context.Context, next dyno.Record, err error) {
	if err == nil {
		err = r.change(ctx, next)
	}
	if err != nil {
		r.log.Error("record change", "phase", r.rec.Phase, "err", err)
	}
}

// save brings the record to the disk.
func (r *runner) save() {
	r.unsaved = nil
	if err := r.keep(r.rec); err != nil {
		r.log.Error("save record", "phase", r.rec.Phase, "err", err)
	}
}

// keep makes a record durable, or remembers that the disk refused it.
func (r *runner) keep(rec dyno.Record) error {
	err := r.Store.Save(rec)
	r.refused = err != nil
	if err != nil {
		return fmt.Errorf("%w: %w", err, errdefs.ErrUnavailable)
	}
	return nil
}

// say writes a platform line into the app's stream.
func (r *runner) say(ctx context.Context, line string) { r.write(ctx, r.rec.ID, time.Now(), line) }

func (r *runner) write(ctx context.Context, id string, at time.Time, line string) {
	r.Meter.Said(line)
	if err := r.Logs.Platform(context.WithoutCancel(ctx), id, at, line); err != nil {
		r.log.Error("write platform line", "line", line, "err", err)
	}
}

// show tells the board how the dyno stands.
func (r *runner) show() {
	r.board.put(Status{Record: r.rec, Address: r.facts.net.Addr, HostPort: r.facts.net.HostPort, PID: r.facts.pid})
}
