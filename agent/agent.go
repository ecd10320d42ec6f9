package agent

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/containerd/errdefs"

	"github.com/dynod/dynod/agent/cloud"
	"github.com/dynod/dynod/agent/dyno"
	"github.com/dynod/dynod/agent/meter"
)

// Agent keeps the dynos of one host. Its methods may be called from any goroutine.
type Agent struct {
	Parts
	cfg     Config
	ledger  *ledger
	queue   queue
	board   *board
	started time.Time

	ready        chan struct{}             // closed when recovery is done
	reachable    atomic.Bool               // containerd answered the newest question
	upstream     atomic.Bool               // the control plane answers reports
	acknowledged atomic.Pointer[time.Time] // when it last did
	cordon       atomic.Pointer[string]
	cordoning    sync.Mutex // held while cordon and what the store has of it change
	cloud        atomic.Pointer[cloud.State]
	ordering     atomic.Int32 // start orders under way: of their dynos the board may not know yet
	draining     atomic.Int32 // drains under way
	unreadable   []string     // ids left alone; written by recovery only

	mu      sync.Mutex
	life    context.Context // of the runners; nil before Run
	runners map[string]*runner
	group   sync.WaitGroup
}

// New puts an agent together. It does nothing before Run.
func New(parts Parts, cfg Config) *Agent {
	if parts.Meter == nil {
		parts.Meter = meter.New(nil, nil)
	}
	ready := make(chan struct{})
	return &Agent{
		Parts: parts, cfg: cfg, ledger: newLedger(cfg.Slots, cfg.Slots+cfg.RestingSlots, cfg.Memory), board: newBoard(), started: time.Now(),
		ready: ready, queue: newQueue(ready), runners: map[string]*runner{},
	}
}

// pingEvery is how often containerd is asked whether it is there.
const pingEvery = 5 * time.Second

// Run takes over what an earlier agent left, then keeps the dynos until ctx ends. It returns when no runner works any
// more; the dynos live on.
func (a *Agent) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	a.mu.Lock()
	a.life = ctx
	a.mu.Unlock()
	defer a.group.Wait()
	defer cancel()
	if err := a.loadCordon(); err != nil {
		return err
	}
	if err := a.recover(ctx); err != nil || ctx.Err() != nil {
		return err
	}
	close(a.ready)
	a.group.Go(func() { a.keepRoom(ctx) })
	a.group.Go(func() { a.fill(ctx) })
	a.group.Go(func() { a.heat(ctx) })
	a.group.Go(func() { a.heed(ctx) })
	ticker := time.NewTicker(pingEvery)
	defer ticker.Stop()
	for {
		a.ping(ctx)
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// Reload takes over Defaults, SampleEvery, KeepFinished, Keeping, Resolv and Reactions, for orders, dynos and notices that
// come from now on; all else stays as New was told.
func (a *Agent) Reload(next Config) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.cfg.Defaults, a.cfg.SampleEvery, a.cfg.KeepFinished = next.Defaults, next.SampleEvery, next.KeepFinished
	a.cfg.Keeping, a.cfg.Resolv, a.cfg.Reactions = next.Keeping, next.Resolv, next.Reactions
}

// settings are those in force.
func (a *Agent) settings() Config {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.cfg
}

// Ready is closed when orders are accepted.
func (a *Agent) Ready() <-chan struct{} { return a.ready }

func (a *Agent) ping(ctx context.Context) {
	begun := time.Now()
	err := a.Runtime.Ping(ctx)
	if err == nil {
		a.Meter.Pinged(time.Since(begun))
	}
	if was := a.reachable.Swap(err == nil); was && err != nil && ctx.Err() == nil {
		a.Log.Error("containerd does not answer", "err", err)
	}
}

// StartOrder orders a dyno.
type StartOrder struct {
	ID         string
	Generation int64
	NotAfter   time.Time // refused later; zero: never
	Spec       dyno.Spec // as ordered, not yet completed
	Reason     string    // a platform line to write first; no part of the dyno
}

// Start accepts a dyno and returns when the order is durable. The same order again gives the same answer. Errors:
// dyno.Invalid; AlreadyExists (lives with another spec); FailedPrecondition (generation, cordon); ResourceExhausted;
// Unavailable (ask again); context.DeadlineExceeded (came too late). After an error nothing has happened.
func (a *Agent) Start(ctx context.Context, o StartOrder) (Status, error) {
	if err := a.admit(ctx, o.ID, o.Generation, o.NotAfter); err != nil {
		return Status{}, err
	}
	if err := dyno.ValidateReason(o.Reason); err != nil {
		return Status{}, err
	}
	var err error
	if o.Spec, err = a.settings().Defaults.Complete(o.Spec); err != nil {
		return Status{}, err
	}
	a.ordering.Add(1)
	defer a.ordered()
	for {
		r, mine := a.claim(o.ID)
		if mine {
			return a.accept(ctx, r, o)
		}
		status, err := a.again(ctx, r, o)
		if !errors.Is(err, errGone) || a.leaving() {
			return status, err
		}
	}
}

// ordered is the end of a start order that is under way: drains may have waited for it.
func (a *Agent) ordered() {
	if a.ordering.Add(-1) == 0 && a.draining.Load() > 0 {
		a.board.touch()
	}
}

// admit refuses what no dyno needs to be asked for.
func (a *Agent) admit(ctx context.Context, id string, generation int64, notAfter time.Time) error {
	if err := dyno.ValidateHeader(id, generation); err != nil {
		return err
	}
	if !notAfter.IsZero() && time.Now().After(notAfter) {
		return fmt.Errorf("the order was good until %s: %w", notAfter.UTC().Format(time.RFC3339), context.DeadlineExceeded)
	}
	return a.serving(ctx)
}

func (a *Agent) serving(ctx context.Context) error {
	if a.leaving() {
		return fmt.Errorf("the agent is going away: %w", errdefs.ErrUnavailable)
	}
	select {
	case <-a.ready:
		return ctx.Err()
	default:
		return fmt.Errorf("the agent is still taking over this host's dynos: %w", errdefs.ErrUnavailable)
	}
}
