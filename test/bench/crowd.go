package main

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	dynodv1 "github.com/dynod/dynod/proto/dynod/v1"
	"github.com/dynod/dynod/test/bench/contender"
	"github.com/dynod/dynod/test/bench/figures"
	"github.com/dynod/dynod/test/bench/proc"
)

// fewSlots are the warm slots beside a crowd: many would be a crowd of their own.
const fewSlots = 4

// crowd measures what many idle containers cost: memory, and with ours CPU, starts beside them and the agent's restart.
func (b *bench) crowd(ctx context.Context) error {
	if err := b.dynod.Restart(ctx, fewSlots); err != nil {
		return err
	}
	if err := b.settle(ctx); err != nil {
		return err
	}
	if err := b.beside(ctx, figures.MainOf1, 1); err != nil {
		return err
	}
	for _, c := range b.contenders {
		if err := b.fill(ctx, c); err != nil {
			return fmt.Errorf("%s: %w", c.Name(), err)
		}
	}
	return b.beside(ctx, figures.MainOf1, 1)
}

// fill starts idle containers until there are as many as are asked for, and looks at each number on the way.
func (b *bench) fill(ctx context.Context, c contender.Detached) error {
	if _, err := b.once(ctx, c); err != nil { // what daemons hold from their first start on is no dyno's
		return err
	}
	empty, err := b.memory()
	if err != nil {
		return err
	}
	var all []contender.Container
	for _, n := range b.runs.Idle {
		more, err := start(ctx, c, n-len(all))
		if err != nil {
			return err
		}
		all = append(all, more...)
		if err := b.idle(ctx); err != nil {
			return err
		}
		now, err := b.memory()
		if err != nil {
			return err
		}
		b.figures.Add(idle(n), c.Name(), float64(now-empty)/float64(n))
	}
	if c.Name() == figures.Cold {
		if err := b.amid(ctx, c, len(all)); err != nil {
			return err
		}
	}
	fmt.Printf("%s: %d idle\n", c.Name(), len(all))
	if err := stopAll(ctx, all); err != nil {
		return err
	}
	return b.settle(ctx)
}

// idle waits until the last ones that were started have been idle for a while, too.
func (b *bench) idle(ctx context.Context) error {
	select {
	case <-time.After(2 * time.Second):
		return b.settle(ctx)
	case <-ctx.Done():
		return ctx.Err()
	}
}

func idle(n int) string { return fmt.Sprintf("bytes per idle dyno, %d of them", n) }

// start starts n, a few at a time.
func start(ctx context.Context, c contender.Detached, n int) ([]contender.Container, error) {
	all := make([]contender.Container, n)
	var group errgroup.Group
	group.SetLimit(4)
	for i := range all {
		group.Go(func() (err error) {
			ctx, cancel := limited(ctx)
			defer cancel()
			all[i], err = c.Detach(ctx, command)
			return err
		})
	}
	return all, group.Wait()
}

// memory is what the processes of the lab but the application hold, and the kernel.
func (b *bench) memory() (int64, error) {
	sum, err := proc.Kernel()
	if err != nil {
		return 0, err
	}
	pids, err := b.lab.Processes()
	if err != nil {
		return 0, err
	}
	for _, pid := range pids {
		if proc.Name(pid) == "mark" {
			continue
		}
		n, err := proc.Memory(pid)
		if err != nil {
			return 0, err
		}
		sum += n
	}
	return sum, nil
}

// amid measures what is measured beside n idle dynos of ours.
func (b *bench) amid(ctx context.Context, c contender.Detached, n int) error {
	if err := b.rest(ctx, c, n); err != nil {
		return err
	}
	for range b.runs.Repeats {
		if err := b.recover(ctx, c, n); err != nil {
			return err
		}
	}
	return b.beside(ctx, figures.Main200, 0)
}

// beside measures single starts of ours beside as many more idle dynos as given.
func (b *bench) beside(ctx context.Context, figure string, n int) error {
	idle, err := start(ctx, b.dynod.Cold(), n)
	if err != nil {
		return err
	}
	for range b.runs.Starts {
		for _, c := range b.contenders {
			if !ours(c) {
				continue
			}
			t, err := b.once(ctx, c)
			if err != nil {
				return err
			}
			b.figures.Add(figure, c.Name(), t.main)
		}
	}
	return stopAll(ctx, idle)
}

// once is a start and a stop that is not looked at.
func (b *bench) once(ctx context.Context, c contender.Contender) (times, error) {
	ctx, cancel := limited(ctx)
	defer cancel()
	s, err := c.Start(ctx, command)
	if err != nil {
		return times{}, err
	}
	t, err := watch(ctx, s)
	if err != nil {
		return t, err
	}
	if _, err := s.Stop(ctx); err != nil {
		return t, err
	}
	return t, b.settle(ctx)
}

// restTime is how long idle dynos are looked at.
const restTime = 10 * time.Second

// rest measures the CPU time of agent and log holder beside idle dynos.
func (b *bench) rest(ctx context.Context, c contender.Contender, n int) error {
	before, err := b.used()
	if err != nil {
		return err
	}
	select {
	case <-time.After(restTime):
	case <-ctx.Done():
		return ctx.Err()
	}
	now, err := b.used()
	if err != nil {
		return err
	}
	for pid := range now {
		if proc.Name(pid) != "dynod" {
			delete(now, pid)
		}
	}
	b.figures.Add("CPU per idle dyno, agent and log holder", c.Name(), since(before, now).Seconds()/restTime.Seconds()/float64(n))
	return nil
}

// recover kills the agent and measures the time from its new start until it serves with all dynos adopted.
func (b *bench) recover(ctx context.Context, c contender.Contender, n int) error {
	if err := b.dynod.KillAgent(); err != nil {
		return err
	}
	if err := b.quiet(ctx); err != nil {
		return err
	}
	began := contender.Now()
	if err := b.dynod.StartAgent(ctx); err != nil {
		return err
	}
	took := contender.Now().Since(began)
	all, err := b.dynod.API().ListDynos(ctx, &dynodv1.ListDynosRequest{})
	if err != nil {
		return err
	}
	up := 0
	for _, d := range all.GetDynos() {
		if d.GetPhase() == dynodv1.Phase_PHASE_UP {
			up++
		}
	}
	if up != n {
		return fmt.Errorf("the new agent has %d of %d dynos up", up, n)
	}
	b.figures.Add(figures.Recovery, c.Name(), took.Seconds())
	return b.settle(ctx)
}
