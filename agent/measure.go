package agent

import (
	"context"
	"time"

	"github.com/containerd/errdefs"

	"github.com/dynod/dynod/agent/dyno"
	"github.com/dynod/dynod/runtime"
)

// loadEvery is how often running threads are counted, as the kernel counts those of the host.
const loadEvery = 5 * time.Second

// vital is one sign of a running dyno.
type vital struct {
	out    bool   // its own memory limit has cost it a process
	peak   uint64 // then: the most bytes that it had
	memory dyno.Memory
	load   dyno.Load
}

// watch looks at a running dyno's memory at every sample, and hears at once when it has run out of it.
func (r *runner) watch(ctx context.Context) <-chan vital {
	vitals := make(chan vital)
	m := measurer{r.Parts, r.rec.ID, vitals}
	go m.awaitOut(ctx)
	if r.cfg.SampleEvery > 0 {
		go m.sample(ctx, r.cfg.SampleEvery, r.rec.Spec.Metrics)
	}
	return vitals
}

// measurer reads the signs of one dyno, until its context ends.
type measurer struct {
	Parts
	id string
	to chan<- vital
}

func (m measurer) tell(ctx context.Context, v vital) {
	select {
	case m.to <- v:
	case <-ctx.Done():
	}
}

func (m measurer) awaitOut(ctx context.Context) {
	peak, err := m.Runtime.OutOfMemory(ctx, m.id)
	switch {
	case err == nil:
		m.tell(ctx, vital{out: true, peak: peak})
	case ctx.Err() == nil && !errdefs.IsNotFound(err):
		m.Log.Warn("cannot hear when a dyno runs out of memory", "dyno", m.id, "err", err)
	}
}

// sample counts threads too if there is a load to tell.
func (m measurer) sample(ctx context.Context, every time.Duration, load bool) {
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	average := dyno.NewLoad(time.Now())
	var counts <-chan time.Time
	if load {
		counter := time.NewTicker(min(every, loadEvery))
		defer counter.Stop()
		counts = counter.C
	}
	for {
		select {
		case at := <-counts:
			if running, err := m.Runtime.Runnable(ctx, m.id); err == nil { // it has ended: Wait says so
				average = average.Count(running, at)
			}
		case <-ticker.C:
			m.look(ctx, average)
		case <-ctx.Done():
			return
		}
	}
}

func (m measurer) look(ctx context.Context, load dyno.Load) {
	u, err := m.Runtime.Usage(ctx, m.id)
	switch {
	case err == nil:
		m.tell(ctx, vital{memory: memory(u), load: load})
	case !errdefs.IsNotFound(err):
		m.Log.Warn("cannot read a dyno's memory", "dyno", m.id, "err", err)
	}
}

func memory(u runtime.Usage) dyno.Memory {
	return dyno.Memory{
		RSS: int64(u.RSS), Swap: int64(u.Swap), Cache: int64(u.Cache), PagesIn: u.PagesIn, PagesOut: u.PagesOut,
	}
}

// judge does what a sign asks for.
func (r *runner) judge(ctx context.Context, v vital) {
	limits := r.rec.Spec.Limits
	switch {
	case !r.rec.Killed.IsZero(): // its end is under way
		return
	case v.out:
		r.kill(ctx, dyno.R15, limits.LinesVast(int64(v.peak))...)
		return
	case r.rec.Spec.Metrics && !r.rec.Started.IsZero():
		for _, line := range r.rec.LinesMetrics(v.memory, v.load, time.Now()) {
			r.say(ctx, line)
		}
	}
	switch limits.Exceeded(v.memory) {
	case dyno.R14:
		r.say(ctx, dyno.LineMemory(v.memory.Total(), limits.Memory))
		r.say(ctx, dyno.LineMemoryExceeded)
	case dyno.R15:
		r.kill(ctx, dyno.R15, limits.LinesVast(v.memory.Total())...)
	}
}

// blame says whose want of memory an exit answers for, if any. What the dyno was killed for before stays the reason.
func (r *runner) blame(exit dyno.Exit, seen runtime.Exit) dyno.Exit {
	alone := r.rec.Killed.IsZero()
	switch {
	case seen.OOM && (alone || r.rec.KilledFor == dyno.R15):
		return exit.OutOfMemory(int64(seen.Peak))
	case seen.HostOOM && alone:
		return exit.HostOutOfMemory()
	}
	return exit
}
