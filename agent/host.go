package agent

import (
	"context"
	"fmt"
	"os"
	goruntime "runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/containerd/errdefs"
	"github.com/prometheus/procfs"

	"github.com/dynod/dynod/agent/cloud"
	"github.com/dynod/dynod/logs"
)

// Host is what the agent knows about its host.
type Host struct {
	Name, Version, BootID, Kernel string
	Started                       time.Time
	Slots, FreeSlots              int
	RestingSlots                  int   // that nobody gets for a while after a dyno
	WarmSlots                     int   // sandboxes that wait for a dyno
	Memory, FreeMemory            int64 // bytes for dynos
	CPUMilli                      int64
	Pressure                      Pressure
	Reachable                     bool // containerd answered the newest question
	Logs                          logs.Account
	Cordoned, Draining            bool
	Unreadable                    []string // dynos left alone because their record cannot be read
	Warnings                      []string
	DiskQuota                     string // how it is held: project or none
	Cloud                         cloud.State
	Upstream                      string    // address of the control plane; empty: none
	Connected                     bool      // it answers reports
	Acknowledged                  time.Time // when it last did; zero: not yet
}

// Pressure is PSI some avg10 of the host or of a dyno, percent.
type Pressure struct{ CPU, Memory, IO float64 }

// Host is the host as it stands now.
func (a *Agent) Host() Host {
	freeSlots, resting, freeMemory := a.ledger.left()
	h := Host{
		Name: a.cfg.Host, Version: a.cfg.Version, BootID: a.cfg.BootID, Kernel: kernel(), Started: a.started,
		Slots: a.cfg.Slots, FreeSlots: freeSlots, RestingSlots: resting, WarmSlots: a.ledger.warmSlots(),
		Memory: a.cfg.Memory, FreeMemory: freeMemory,
		CPUMilli: int64(goruntime.NumCPU()) * 1000, Pressure: pressure(),
		Reachable: a.reachable.Load(), Logs: a.Logs.Account(),
		Cordoned: a.cordon.Load() != nil, Draining: a.draining.Load() > 0,
		Warnings:  slices.Concat(a.cfg.Warnings, a.Network.Warnings()),
		DiskQuota: a.cfg.DiskQuota,
		Upstream:  a.cfg.Upstream, Connected: a.upstream.Load(),
	}
	if said := a.cloud.Load(); said != nil {
		h.Cloud = *said
	}
	if at := a.acknowledged.Load(); at != nil {
		h.Acknowledged = *at
	}
	select {
	case <-a.ready:
		h.Unreadable = a.unreadable
	default:
	}
	return h
}

// Connected is told at every answer of the control plane to a report, and when no more answers come.
func (a *Agent) Connected(yes bool) {
	a.upstream.Store(yes)
	if now := time.Now(); yes {
		a.acknowledged.Store(&now)
	}
}

var kernel = sync.OnceValue(func() string {
	release, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(release))
})

// pressure is zero where the kernel has no PSI.
func pressure() Pressure {
	proc, err := procfs.NewDefaultFS()
	if err != nil {
		return Pressure{}
	}
	some := func(resource string) float64 {
		psi, err := proc.PSIStatsForResource(resource)
		if err != nil || psi.Some == nil {
			return 0
		}
		return psi.Some.Avg10
	}
	return Pressure{some("cpu"), some("memory"), some("io")}
}

// Cordon refuses new starts from now on, also after a restart of the agent.
func (a *Agent) Cordon(reason string) error {
	a.cordoning.Lock()
	defer a.cordoning.Unlock()
	if err := a.Store.SetCordon(reason); err != nil {
		return fmt.Errorf("cordon: %w", err)
	}
	a.cordon.Store(&reason)
	a.board.touch()
	return nil
}

// Uncordon accepts starts again.
func (a *Agent) Uncordon() error {
	a.cordoning.Lock()
	defer a.cordoning.Unlock()
	if err := a.Store.ClearCordon(); err != nil {
		return fmt.Errorf("uncordon: %w", err)
	}
	a.cordon.Store(nil)
	a.board.touch()
	return nil
}

func (a *Agent) loadCordon() error {
	reason, cordoned, err := a.Store.Cordon()
	if cordoned {
		a.cordon.Store(&reason)
	}
	return err
}

// Drain cordons the host and stops every dyno, parallel at once (0: all), grace as in a stop order. It calls nobody
// back: the caller watches the board. When the host is uncordoned meanwhile it stops no more, with errdefs.ErrAborted. A dyno
// whose record cannot be read is left alone: then it ends with errdefs.ErrFailedPrecondition.
func (a *Agent) Drain(ctx context.Context, grace time.Duration, parallel int) error {
	return a.drain(ctx, "drain", grace, parallel)
}

func (a *Agent) drain(ctx context.Context, reason string, grace time.Duration, parallel int) error {
	if err := a.Cordon(reason); err != nil {
		return err
	}
	a.draining.Add(1)
	defer a.draining.Add(-1)
	return a.stopAll(ctx, grace, parallel)
}

// errUncordoned ends a drain: an order wants the host back.
var errUncordoned = fmt.Errorf("the host was uncordoned meanwhile: %w", errdefs.ErrAborted)

func (a *Agent) stopAll(ctx context.Context, grace time.Duration, parallel int) error {
	watch, _ := a.Watch()
	defer watch.Close()
	for {
		ordering := a.ordering.Load() > 0 // perhaps since before the cordon; asked first: the board knows of all others
		ending, waiting := 0, []Status{}
		for _, s := range a.List() {
			switch {
			case s.Ended():
			case s.Stop != nil:
				ending++
			default:
				waiting = append(waiting, s)
			}
		}
		if ending+len(waiting) == 0 && !ordering {
			return a.leftAlone()
		}
		if a.cordon.Load() == nil {
			return errUncordoned
		}
		for _, s := range waiting {
			if parallel > 0 && ending >= parallel {
				break
			}
			_, err := a.Stop(ctx, StopOrder{ID: s.ID, Generation: s.Generation, Grace: grace, Reason: relocating})
			if err != nil && !errdefs.IsFailedPrecondition(err) { // a newer order has just come: the board tells
				return err
			}
			ending++
		}
		if _, _, err := watch.Next(ctx); err != nil {
			return err
		}
	}
}

// errLeftAlone ends a drain that has done what it can.
var errLeftAlone = fmt.Errorf("dynos are left alone whose records cannot be read: %w", errdefs.ErrFailedPrecondition)

// leftAlone is why a drained host is not empty.
func (a *Agent) leftAlone() error {
	if left := a.Host().Unreadable; len(left) > 0 {
		return fmt.Errorf("%w: %s", errLeftAlone, strings.Join(left, ", "))
	}
	return nil
}

// relocating is the line that owners read when their host is emptied.
const relocating = "Relocating dyno to a new server"
