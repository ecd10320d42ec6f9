package contender_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/dynod/dynod/test/bench/contender"
	"github.com/dynod/dynod/test/lab"
)

// TestTimes has what happens happen in order, by one clock, with dynod and with ctr.
func TestTimes(t *testing.T) {
	l := lab.New(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	rootfs, err := contender.MakeRootfs(ctx, l.Dir())
	if err != nil {
		t.Fatal(err)
	}
	dynod, err := contender.OpenDynod(ctx, l, rootfs, 2)
	if err != nil {
		t.Fatal(err)
	}
	defer dynod.Close()
	if err := dynod.Ready(ctx); err != nil {
		t.Fatalf("%v\n%s", err, dynod.Tail("agent.log", "GetHost"))
	}
	ctr, err := contender.NewCtr(ctx, l, rootfs)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []contender.Detached{dynod.Cold(), dynod.Warm(), ctr} {
		t.Run(c.Name(), func(t *testing.T) {
			if err := inOrder(ctx, c); err != nil {
				t.Error(err)
			}
			idle, err := c.Detach(ctx, "exec ./mark")
			if err != nil {
				t.Fatal(err)
			}
			if _, err := idle.Stop(ctx); err != nil {
				t.Error(err)
			}
		})
	}
}

func inOrder(ctx context.Context, c contender.Contender) error {
	s, err := c.Start(ctx, "exec ./mark")
	if err != nil {
		return err
	}
	before := s.Ordered()
	for _, word := range []string{"main", "bound"} {
		l, err := s.Line(ctx)
		if err != nil {
			return err
		}
		at, err := l.Told(word)
		if err != nil {
			return err
		}
		if at <= before || l.At <= at {
			return fmt.Errorf("%s at %d after %d, told at %d", word, at, before, l.At)
		}
		before = at
	}
	if up, err := s.Up(ctx); err != nil || up != 0 && up <= before {
		return fmt.Errorf("up at %d, bound at %d: %w", up, before, err)
	}
	if took, err := s.Stop(ctx); err != nil || took <= 0 {
		return fmt.Errorf("stop took %v: %w", took, err)
	}
	if l, err := s.Line(ctx); err != nil || l.At <= before {
		return fmt.Errorf("last line %q: %w", l.Text, err)
	}
	return nil
}
