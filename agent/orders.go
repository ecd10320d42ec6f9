package agent

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"syscall"
	"time"

	"github.com/containerd/errdefs"

	"github.com/dynod/dynod/agent/dyno"
	"github.com/dynod/dynod/logs"
)

// StopOrder ends a dyno.
type StopOrder struct {
	ID         string
	Generation int64
	NotAfter   time.Time
	Grace      time.Duration // negative: as the spec says
	Reason     string        // a platform line to write first
}

// Stop makes a stop order durable and returns; SIGTERM follows. An unknown dyno: the zero Status and no error.
// Errors: dyno.Invalid, FailedPrecondition (lower generation), Unavailable.
func (a *Agent) Stop(ctx context.Context, o StopOrder) (Status, error) {
	if err := a.admit(ctx, o.ID, o.Generation, o.NotAfter); err != nil {
		return Status{}, err
	}
	if err := dyno.ValidateStop(o.Grace, o.Reason); err != nil {
		return Status{}, err
	}
	r := a.find(o.ID)
	if r == nil {
		return Status{}, nil
	}
	err := r.ask(ctx, func(rec dyno.Record) (dyno.Record, error) { return stopped(rec, o) })
	if errors.Is(err, errGone) && !a.leaving() {
		return Status{}, nil
	}
	status, _ := a.board.get(o.ID)
	return status, err
}

func stopped(rec dyno.Record, o StopOrder) (dyno.Record, error) {
	if o.Generation < rec.Generation {
		return rec, stale(o.Generation, rec.Generation)
	}
	if o.Generation == rec.Generation && (rec.Stop != nil || rec.Ended()) {
		return rec, errSame
	}
	return rec.Stopped(o.Generation, o.Grace, o.Reason, time.Now())
}

// Acknowledge says that the control plane knows this revision of a dyno. Revisions begin anew with a generation.
func (a *Agent) Acknowledge(ctx context.Context, id string, generation, revision int64) error {
	r := a.find(id)
	if r == nil {
		return nil
	}
	err := r.ask(ctx, func(rec dyno.Record) (dyno.Record, error) {
		if !rec.Ended() || rec.Reported || rec.Generation != generation || rec.Revision < revision {
			return rec, errSame
		}
		rec.Reported = true
		return rec, nil
	})
	if errors.Is(err, errGone) {
		return nil
	}
	return err
}

// Signal sends a signal to every process of a dyno. Errors: NotFound, FailedPrecondition when it does not run.
func (a *Agent) Signal(ctx context.Context, id string, sig syscall.Signal) error {
	status, err := a.Get(id)
	if err != nil {
		return err
	}
	if status.PID == 0 {
		return fmt.Errorf("dyno %s does not run: %w", id, errdefs.ErrFailedPrecondition)
	}
	ctx, cancel := context.WithTimeout(ctx, callLimit)
	defer cancel()
	return a.Runtime.Signal(ctx, id, sig)
}

// Get is one dyno. Error: NotFound.
func (a *Agent) Get(id string) (Status, error) {
	status, known := a.board.get(id)
	if !known {
		return status, fmt.Errorf("dyno %.80q: %w", id, errdefs.ErrNotFound)
	}
	return status, nil
}

// Pressure is a dyno's own; NotFound when it does not run.
func (a *Agent) Pressure(ctx context.Context, id string) (Pressure, error) {
	u, err := a.Runtime.Usage(ctx, id)
	return Pressure(u.Pressure), err
}

// List is all dynos, ordered by app, name and id.
func (a *Agent) List() []Status { return a.board.all() }

// Watch is all dynos, and a watch of what changes after that; the caller closes it.
func (a *Agent) Watch() (*Watch, []Status) { return a.board.watch() }

// Lines reads log lines of one dyno. Error: NotFound.
func (a *Agent) Lines(ctx context.Context, id string, o logs.ReadOptions) (iter.Seq2[logs.Line, error], error) {
	if _, err := a.Get(id); err != nil {
		return nil, err
	}
	return a.Logs.Read(ctx, id, o), nil
}
