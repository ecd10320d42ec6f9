package main

import (
	"context"
	"fmt"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/dynod/dynod/test/bench/contender"
)

// bursts measures several starts at once.
func (b *bench) bursts(ctx context.Context) error {
	if err := b.settle(ctx); err != nil {
		return err
	}
	for _, n := range b.runs.AtOnce {
		for range b.runs.Repeats {
			for _, c := range b.contenders {
				if err := b.burst(ctx, c, n); err != nil {
					return fmt.Errorf("%s, %d at once: %w", c.Name(), n, err)
				}
			}
		}
		fmt.Printf("starts at once: %d\n", n)
	}
	return nil
}

// burst has n starts ordered in the same moment and notes when each one's main began.
func (b *bench) burst(ctx context.Context, c contender.Contender, n int) error {
	ctx, cancel := limited(ctx)
	defer cancel()
	var mu sync.Mutex
	var all []contender.Container
	var last contender.Clock
	began := contender.Now()
	var group errgroup.Group
	for range n {
		group.Go(func() error {
			s, err := c.Start(ctx, command)
			if err != nil {
				return err
			}
			first, err := s.Line(ctx)
			if err != nil {
				return err
			}
			at, err := first.Told("main")
			mu.Lock()
			defer mu.Unlock()
			all, last = append(all, s), max(last, at)
			b.figures.Add(fmt.Sprintf("order to main, %d at once", n), c.Name(), at.Since(began).Seconds())
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	b.figures.Add(fmt.Sprintf("starts per second, %d at once", n), c.Name(), float64(n)/last.Since(began).Seconds())
	if err := stopAll(ctx, all); err != nil {
		return err
	}
	return b.settle(ctx)
}

// stopAll stops several, a few at a time: stops are not what is measured.
func stopAll(ctx context.Context, all []contender.Container) error {
	var group errgroup.Group
	group.SetLimit(8)
	for _, s := range all {
		group.Go(func() error {
			_, err := s.Stop(ctx)
			return err
		})
	}
	return group.Wait()
}
