package agent

import (
	"context"
	"errors"
	"time"

	"github.com/containerd/errdefs"

	"github.com/dynod/dynod/agent/dyno"
	"github.com/dynod/dynod/runtime"
)

// Deadlines of the steps of a life.
const (
	acquireLimit = 15 * time.Minute // a pull of a large image is in it
	acquireTries = 30
	retryAcquire = time.Second
	launchLimit  = 30 * time.Second
	callLimit    = 5 * time.Second
	drainLimit   = 2 * time.Second
	releaseLimit = time.Minute
)

// life leads one life from its first step to its exit. A nil exit: it was stopped before its command ran.
// left: the agent goes away and the dyno lives on.
func (r *runner) life(ctx context.Context, adopted bool) (exit *dyno.Exit, left bool) {
	ctx = r.Meter.Life(ctx, r.rec.ID, r.rec.Lives)
	r.held = r.newHolding()
	if adopted {
		r.adopt(ctx)
	} else if err := r.acquire(ctx, r.first()); err != nil {
		return r.neverRan(ctx, err)
	}
	r.facts = facts{r.held.net, r.held.pid}
	r.show()
	switch {
	case !adopted && r.rec.Stop != nil: // ordered as the last step ended: dyno-init may not heed SIGTERM yet, and no app is there
		r.kill(ctx, "")
	case r.rec.Spec.Attach == nil:
		r.launch(ctx)
	default:
		r.receive(ctx)
	}
	return r.supervise(ctx, r.wait(ctx))
}

func (r *runner) newHolding() *holding {
	return &holding{Parts: r.Parts, rec: r.rec, resolv: r.cfg.Resolv}
}

// adopt finds again what a dyno that lives has on the host, unless it is to end. While containerd is away or slow it is tried again.
func (r *runner) adopt(ctx context.Context) {
	for try := 1; ; try++ {
		err := r.do(ctx, acquireLimit, r.inTurn(r.held.regain))
		if err == nil || ctx.Err() != nil {
			return
		}
		r.log.Error("adopt", "err", err)
		if again := errdefs.IsUnavailable(err) || errdefs.IsDeadlineExceeded(err); !again || try == acquireTries || r.rec.Stop != nil {
			return
		}
		r.idle(ctx, retryAcquire)
	}
}

// first is the first try to take what a life needs: of a new dyno it has begun with the order.
func (r *runner) first() (step func(context.Context) error) {
	if r.ahead == nil {
		return r.held.acquire
	}
	r.held, step = r.ahead.holding, r.ahead.join
	r.ahead = nil
	return step
}

// acquire tries again while containerd is away: the order was accepted.
func (r *runner) acquire(ctx context.Context, step func(context.Context) error) error {
	for try := 1; ; try++ {
		err := r.doUnlessStopped(ctx, acquireLimit, step)
		if !errdefs.IsUnavailable(err) || try == acquireTries || ctx.Err() != nil {
			return err
		}
		r.log.Warn("start is tried again", "err", err)
		r.idle(ctx, retryAcquire)
		if r.rec.Stop != nil {
			return err
		}
		step = r.held.acquire
	}
}

// launch hands dyno-init its plan. A failure is not the end: the exit follows.
func (r *runner) launch(ctx context.Context) {
	defer r.ledger.begun(r.rec.ID)
	ended := r.held.exited && !r.rec.Started.IsZero() // an earlier agent has launched it: Wait says how it ended
	if r.rec.Phase != dyno.Starting || ended {
		return
	}
	step := r.held.launch
	if r.rec.Started.IsZero() {
		step = r.announced(step, dyno.LineStarting(r.rec.Spec.CommandShown(r.held.image)))
		r.note(ctx, r.rec.Launched(r.held.image, time.Now()), nil)
	}
	err := r.doUnlessStopped(ctx, launchLimit, step)
	var failed *runtime.LaunchError
	switch {
	case errors.As(err, &failed):
		r.rec.Reason = failed.Reason
		r.say(ctx, failed.Reason)
	case err != nil && ctx.Err() != nil:
	case err != nil && r.rec.Stop != nil: // dyno-init may not heed SIGTERM yet, and no app is there to say goodbye
		r.kill(ctx, "")
	case err != nil:
		r.log.Error("launch", "err", err)
		r.kill(ctx, dyno.R99, dyno.LinePlatform("The command could not be launched"), dyno.LineKilling)
	case err == nil && !r.rec.Spec.Web() && r.rec.Phase == dyno.Starting:
		next, err := r.rec.To(dyno.Up, time.Now())
		r.note(ctx, next, err)
	}
}

// announced is a step with a platform line of the time before it, for which it need not wait.
func (r *runner) announced(step func(context.Context) error, line string) func(context.Context) error {
	id, at := r.rec.ID, time.Now()
	return func(ctx context.Context) error {
		said := make(chan struct{})
		go func() {
			defer close(said)
			r.write(ctx, id, at, line)
		}()
		defer func() { <-said }()
		return step(ctx)
	}
}

// neverRan is the end of a life whose command was not executed.
func (r *runner) neverRan(ctx context.Context, err error) (exit *dyno.Exit, left bool) {
	r.ledger.begun(r.rec.ID) // its next life may be hours away
	if ctx.Err() != nil || r.rec.Stop != nil {
		return nil, ctx.Err() != nil
	}
	r.log.Error("start", "err", err)
	lost := dyno.Lost(err.Error(), time.Now())
	var sum *runtime.ChecksumError
	var unfit *dyno.UnfitError
	switch {
	case errors.As(err, &sum):
		lost.Error = dyno.R17
		r.say(ctx, dyno.LineChecksum(sum.Expected, sum.Actual))
	case errors.As(err, &unfit):
		r.say(ctx, dyno.LinePlatform(unfit.Problem))
	default:
		r.say(ctx, dyno.LinePlatform("The dyno could not be started")) // the reason names parts of the host: it is upstream's
	}
	return &lost, false
}

// waiting is what Wait said.
type waiting struct {
	exit runtime.Exit
	err  error
}

func (r *runner) dropSysfs(ctx context.Context, id string) {
	short, cancel := context.WithTimeout(ctx, callLimit)
	defer cancel()
	if err := r.Network.DropSysfs(short, id); err != nil && ctx.Err() == nil {
		r.log.Warn("starts beside this dyno are slower", "err", err)
	}
}

func (r *runner) wait(ctx context.Context) <-chan waiting {
	waited := make(chan waiting, 1)
	id := r.rec.ID
	go func() {
		r.dropSysfs(ctx, id) // here nobody waits for it
		exit, err := r.Runtime.Wait(ctx, id)
		waited <- waiting{exit, err}
	}()
	return waited
}
