package agent

import (
	"context"
	"syscall"
	"time"

	"github.com/dynod/dynod/agent/dyno"
	"github.com/dynod/dynod/runtime"
)

// receive has an attached dyno await its client. One that an earlier agent served has lost it.
func (r *runner) receive(ctx context.Context) {
	r.ledger.begun(r.rec.ID) // the client may not come soon
	defer close(r.received)  // it comes once: no crash policy gives such a dyno a second life
	switch {
	case r.rec.Stop != nil || !r.rec.Killed.IsZero():
	case r.held.launched || r.rec.Phase == dyno.Up:
		r.launch(ctx)
		if !r.held.exited && r.rec.Abandonable() {
			r.abandon(ctx)
		}
	case r.rec.Client.Awaited.IsZero():
		r.say(ctx, dyno.LineAwaiting)
		r.note(ctx, r.rec.Awaits(time.Now()), nil)
	case !r.rec.Client.Came.IsZero():
		r.note(ctx, r.rec.Vacated(), nil)
	}
}

// attend starts the command of a dyno whose client has come, and ends a dyno that is stopped before: dyno-init may
// not heed SIGTERM yet.
func (r *runner) attend(ctx context.Context) {
	switch {
	case r.rec.Spec.Attach == nil || r.held.launched || !r.rec.Killed.IsZero() || ctx.Err() != nil:
	case r.rec.Stop != nil:
		r.kill(ctx, "")
	case r.guest != nil:
		r.launch(ctx)
		r.serve(ctx)
	}
}

// serve gives the client what the command reads and writes.
func (r *runner) serve(ctx context.Context) {
	if !r.held.launched {
		return // the dyno is being ended, or the agent goes away
	}
	r.guest.stdio, r.guest.reason = r.held.stdio, r.rec.Reason
	close(r.guest.begun)
	if r.guest.stdio == nil && r.guest.reason == "" && r.rec.Abandonable() { // an earlier agent's plan runs
		r.abandon(ctx)
	}
}

// abandon takes note that the client of a running dyno is lost. What follows is due in time.
func (r *runner) abandon(ctx context.Context) {
	r.guest.hangUp()
	r.say(ctx, dyno.LineHangUp)
	r.note(ctx, r.rec.Abandoned(time.Now()), nil)
}

// hangUp does what is due to a dyno that has lost its client.
func (r *runner) hangUp(ctx context.Context, due dyno.Due) {
	if due == dyno.HangUpFailed {
		r.say(ctx, dyno.LineDetached)
		r.note(ctx, r.rec.Detached(), nil)
		return
	}
	r.signal(ctx, syscall.SIGHUP)
	r.note(ctx, r.rec.HungUp(), nil)
}

// dismiss tells the client that the life is over, and forgets it. What the command has written may still be read.
func (r *runner) dismiss(exit *dyno.Exit) {
	g := r.guest
	if g == nil {
		return
	}
	r.guest = nil
	if exit != nil && r.rec.Exit != nil {
		g.exit = *r.rec.Exit
	}
	close(g.ended)
	if g.left() {
		g.hangUp()
	}
}

// attachment is a in the runtime's words; nil for a dyno that writes into its log.
func attachment(a *dyno.Attach) *runtime.Attach {
	if a == nil {
		return nil
	}
	return &runtime.Attach{Terminal: a.Terminal, Size: runtime.WindowSize{Rows: a.Rows, Columns: a.Columns}}
}

// environ is the environment of a command of the dyno that is attached so; nil: to the log.
func environ(rec dyno.Record, image dyno.Image, a *dyno.Attach) []string {
	env := rec.Environ(image)
	if a != nil && a.Terminal {
		env = dyno.WithTerm(env)
	}
	return env
}
