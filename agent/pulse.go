package agent

import (
	"context"
	"errors"
	"fmt"
	"maps"

	"golang.org/x/sync/errgroup"

	"github.com/dynod/dynod/agent/dyno"
)

// errAlive is all that a runner has to answer: the disk is not asked either.
var errAlive = errors.New("alive")

// Pulse returns nil once the agent could have reported its host and every runner has answered an order: all that a
// deadlock would keep it from. It may hang itself then, beyond ctx. No containerd and no peer is asked.
func (a *Agent) Pulse(ctx context.Context) error {
	a.Host()
	a.board.all()
	a.mu.Lock()
	runners := maps.Clone(a.runners)
	a.mu.Unlock()
	asked, ctx := errgroup.WithContext(ctx)
	for id, r := range runners {
		asked.Go(func() error {
			err := r.ask(ctx, func(rec dyno.Record) (dyno.Record, error) { return rec, errAlive })
			if !errors.Is(err, errAlive) && !errors.Is(err, errGone) {
				return fmt.Errorf("ask dyno %s: %w", id, err)
			}
			return nil
		})
	}
	return asked.Wait()
}
