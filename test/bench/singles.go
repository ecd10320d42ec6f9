package main

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"

	"github.com/dynod/dynod/test/bench/contender"
	"github.com/dynod/dynod/test/bench/figures"
)

// oursInARound is how often ours start while the others start once: they are quick, and their p99 is looked at.
const oursInARound = 4

// command is what is measured everywhere.
const command = "exec ./mark"

// singles measures one start after the other, and its stop, all contenders taking turns in an order that changes.
func (b *bench) singles(ctx context.Context) error {
	for round := range b.runs.Rounds {
		var turns []contender.Contender
		for _, c := range b.contenders {
			turns = append(turns, c)
			for range oursInARound - 1 {
				if ours(c) {
					turns = append(turns, c)
				}
			}
		}
		rand.Shuffle(len(turns), func(i, j int) { turns[i], turns[j] = turns[j], turns[i] })
		for _, c := range turns {
			if err := b.single(ctx, c); err != nil {
				return fmt.Errorf("%s: %w", c.Name(), err)
			}
		}
		if (round+1)%10 == 0 {
			fmt.Printf("single starts: %d of %d rounds\n", round+1, b.runs.Rounds)
		}
	}
	return nil
}

// single is one start and stop.
func (b *bench) single(ctx context.Context, c contender.Contender) error {
	ctx, cancel := limited(ctx)
	defer cancel()
	before, err := b.dynod.Phases(ctx)
	if err != nil {
		return err
	}
	s, err := c.Start(ctx, command)
	if err != nil {
		return err
	}
	t, err := watch(ctx, s)
	if err != nil {
		return err
	}
	if err := b.phases(ctx, c, before); err != nil {
		return err
	}
	stop, err := s.Stop(ctx)
	if err != nil {
		return err
	}
	b.figures.Add(figures.Main, c.Name(), t.main)
	b.figures.Add(figures.Line, c.Name(), t.line)
	b.figures.Add(figures.Up, c.Name(), t.up)
	b.figures.Add(figures.Stop, c.Name(), stop.Seconds())
	return b.settle(ctx)
}

// phases notes where the time of one start of ours went.
func (b *bench) phases(ctx context.Context, c contender.Contender, before map[string]float64) error {
	if !ours(c) {
		return nil
	}
	took, err := b.dynod.PhasesSince(ctx, before)
	for _, name := range slices.Sorted(maps.Keys(took)) {
		b.figures.Add("phase of a start: "+name, c.Name(), took[name])
	}
	return err
}

// times are seconds from the order.
type times struct{ main, line, up float64 }

// watch sees a start through until the port is bound. Of contenders that do not say so, the application's own word
// counts: sooner nobody could know.
func watch(ctx context.Context, s contender.Container) (t times, err error) {
	first, err := s.Line(ctx)
	if err != nil {
		return t, err
	}
	began, err := first.Told("main")
	if err != nil {
		return t, err
	}
	second, err := s.Line(ctx)
	if err != nil {
		return t, err
	}
	bound, err := second.Told("bound")
	if err != nil {
		return t, err
	}
	up, err := s.Up(ctx)
	if up == 0 {
		up = bound
	}
	from := s.Ordered()
	return times{began.Since(from).Seconds(), first.At.Since(from).Seconds(), up.Since(from).Seconds()}, err
}
