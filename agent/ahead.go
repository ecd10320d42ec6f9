package agent

import (
	"context"
	"errors"
	"fmt"

	"github.com/containerd/errdefs"

	"github.com/dynod/dynod/agent/dyno"
	"github.com/dynod/dynod/agent/meter"
)

// ahead is what a dyno's first life takes from the host while its order is being made durable. Until it is, nobody hears
// of the dyno and no command runs; if it cannot be, all is given back.
type ahead struct {
	*holding
	cancel context.CancelFunc
	done   chan struct{} // closed when err is final
	err    error
}

// add makes a new record durable and begins its dyno's life beside that.
func (a *Agent) add(call context.Context, r *runner, rec dyno.Record) error {
	r.ahead = a.goAhead(call, r, rec)
	err := a.Store.Add(rec)
	if err == nil {
		return nil
	}
	if earlier, known := a.board.get(rec.ID); known { // a generation that rests: it stays as it was
		err = errors.Join(err, a.Store.Add(earlier.Record))
	}
	a.giveBack(r.ahead)
	r.ahead = nil
	return fmt.Errorf("%w: %w", err, errdefs.ErrUnavailable)
}

func (a *Agent) goAhead(call context.Context, r *runner, rec dyno.Record) *ahead {
	a.mu.Lock()
	defer a.mu.Unlock()
	ctx, cancel := context.WithTimeout(meter.TraceOf(call)(a.life), acquireLimit)
	s := &ahead{holding: &holding{Parts: r.Parts, rec: rec, resolv: r.cfg.Resolv}, cancel: cancel, done: make(chan struct{})}
	if s.err = ctx.Err(); s.err != nil { // the agent goes away, and waits for nothing new
		close(s.done)
		return s
	}
	a.group.Go(func() {
		defer close(s.done)
		s.err = s.acquire(ctx)
	})
	return s
}

// join is acquire for who comes after it has begun.
func (s *ahead) join(ctx context.Context) error {
	defer s.cancel()
	defer context.AfterFunc(ctx, s.cancel)()
	<-s.done
	return s.err
}

// giveBack tries until it is done or the agent goes away: the next one finds what nobody has a record of.
func (a *Agent) giveBack(s *ahead) {
	s.cancel()
	for <-s.done; a.life.Err() == nil; a.idle(a.life, retryRelease) {
		err := a.undo(s)
		if err == nil {
			return
		}
		a.Log.Error("clean up", "dyno", s.rec.ID, "err", err)
	}
}

func (a *Agent) undo(s *ahead) error {
	ctx, cancel := context.WithTimeout(a.life, releaseLimit)
	defer cancel()
	err := s.release(ctx)
	if _, earlier := a.board.get(s.rec.ID); !earlier { // else an earlier generation has the spool
		err = errors.Join(err, a.Logs.Remove(ctx, s.rec.ID))
	}
	return err
}
