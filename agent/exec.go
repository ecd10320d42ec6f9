package agent

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"time"

	"github.com/containerd/errdefs"

	"github.com/dynod/dynod/agent/dyno"
	"github.com/dynod/dynod/runtime"
)

// ExecOrder asks for one more command in a dyno.
type ExecOrder struct {
	ID     string
	Words  []string     // none: a shell
	Attach *dyno.Attach // how it talks to the caller; never nil
}

// Exec starts one more command in a dyno, with the environment and the directory of the dyno's own, and returns when it
// runs. Errors: dyno.Invalid; NotFound; FailedPrecondition when the dyno does not run.
func (a *Agent) Exec(ctx context.Context, o ExecOrder) (*Session, error) {
	status, err := a.Get(o.ID)
	if err != nil {
		return nil, err
	}
	if err := dyno.ValidateWords(o.Words); err != nil {
		return nil, err
	}
	if status.PID == 0 || status.Started.IsZero() || status.Ended() {
		return nil, fmt.Errorf("dyno %s does not run: %w", o.ID, errdefs.ErrFailedPrecondition)
	}
	ctx, cancel := context.WithTimeout(ctx, launchLimit)
	defer cancel()
	p, err := a.Runtime.Exec(ctx, o.ID, further(status.Record, o))
	var failed *runtime.LaunchError
	switch {
	case errors.As(err, &failed):
		return failedSession(failed.Reason), nil
	case errdefs.IsNotFound(err): // it is known, and has just ended
		return nil, fmt.Errorf("%w: %w", err, errdefs.ErrFailedPrecondition)
	case err != nil:
		return nil, err
	}
	return execSession(p), nil
}

// further is the plan of one more command in a dyno that runs.
func further(rec dyno.Record, o ExecOrder) runtime.Plan {
	var image dyno.Image
	if rec.Image != nil {
		image = *rec.Image
	}
	plan := runtime.Plan{Args: rec.Spec.Further(image, o.Words), Env: environ(rec, image, o.Attach), Dir: rec.Spec.Directory(image)}
	if o.Attach.Terminal {
		plan.Attach = attachment(o.Attach)
	}
	return plan
}

// failedSession is that of a command that could not be executed, as a shell would have it.
func failedSession(reason string) *Session {
	const notFound = 127
	s := &Session{
		Reason: reason,
		signal: func(context.Context, syscall.Signal) error { return nil },
		wait:   func(context.Context) (dyno.Exit, error) { return dyno.Exit{Code: notFound, At: time.Now()}, nil },
		hangUp: func() {},
	}
	return s.begin(nil)
}

func execSession(p runtime.Process) *Session {
	s := &Session{
		signal: func(_ context.Context, sig syscall.Signal) error { return p.Signal(sig) },
		wait: func(ctx context.Context) (dyno.Exit, error) {
			code, err := p.Wait(ctx)
			if errdefs.IsNotFound(err) {
				err = fmt.Errorf("the dyno ended before the command did: %w", errdefs.ErrAborted)
			}
			return dyno.Exit{Code: code, Signal: max(0, code-signalled), At: time.Now()}, err
		},
		hangUp: func() { _ = p.Close() },
	}
	return s.begin(p.Stdio())
}

// signalled is what a status is above the signal that it stands for.
const signalled = 128
