package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/dynod/dynod/test/bench/contender"
	"github.com/dynod/dynod/test/bench/figures"
	"github.com/dynod/dynod/test/bench/proc"
	"github.com/dynod/dynod/test/lab"
)

// bench is a run.
type bench struct {
	runs       Runs
	lab        *lab.Lab
	rootfs     contender.Rootfs
	dynod      *contender.Dynod
	contenders []contender.Detached
	machine    machine
	control    string // what all contenders say of the root file system
	figures    figures.Figures
}

func open(ctx context.Context, runs Runs) (_ *bench, err error) {
	if err := os.Setenv("DYNOD_LOG_LEVEL", "info"); err != nil { // the lab's own configuration says debug
		return nil, err
	}
	b := &bench{runs: runs}
	if b.lab, err = lab.Open("bench"); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, b.Close())
		}
	}()
	if b.rootfs, err = contender.MakeRootfs(ctx, b.lab.Dir()); err != nil {
		return nil, err
	}
	if b.dynod, err = contender.OpenDynod(ctx, b.lab, b.rootfs, slices.Max(runs.AtOnce)); err != nil {
		return nil, err
	}
	if err := b.enter(ctx); err != nil {
		return nil, err
	}
	b.machine, err = look(ctx)
	return b, err
}

// enter gathers the contenders.
func (b *bench) enter(ctx context.Context) error {
	ctr, err := contender.NewCtr(ctx, b.lab, b.rootfs)
	if err != nil {
		return err
	}
	docker, err := contender.NewDocker(ctx, b.lab, b.rootfs)
	if err != nil {
		return err
	}
	podman, err := contender.NewPodman(b.lab, b.rootfs)
	if err != nil {
		return err
	}
	b.contenders = []contender.Detached{b.dynod.Warm(), b.dynod.Cold(), ctr, docker, podman}
	return nil
}

// Close ends all.
func (b *bench) Close() error {
	if b.dynod == nil {
		return b.lab.Close()
	}
	return errors.Join(b.dynod.Close(), b.lab.Close())
}

// ours says whether it is the project's own way.
func ours(c contender.Contender) bool { return c.Name() == figures.Cold || c.Name() == figures.Warm }

// limited is a context for one measurement.
func limited(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, 2*time.Minute)
}

// The lab is quiet when its processes use less than a tenth of a CPU for longer than the agent lets pass between an
// order and the making of a warm slot.
const (
	quietLook  = 120 * time.Millisecond
	quietUse   = quietLook / 10
	quietLimit = time.Minute
)

// settle waits until whatever the last measurement left to be done is done, so that it does not burden the next one.
func (b *bench) settle(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, quietLimit)
	defer cancel()
	if err := b.dynod.Ready(ctx); err != nil {
		return err
	}
	return b.quiet(ctx)
}

func (b *bench) quiet(ctx context.Context) error {
	before, err := b.used()
	for err == nil {
		select {
		case <-time.After(quietLook):
		case <-ctx.Done():
			return fmt.Errorf("wait for quiet: %w", ctx.Err())
		}
		var now map[int]time.Duration
		if now, err = b.used(); err == nil && since(before, now) < quietUse {
			return nil
		}
		before = now
	}
	return err
}

// used is the CPU time of every process of the lab.
func (b *bench) used() (map[int]time.Duration, error) {
	pids, err := b.lab.Processes()
	if err != nil {
		return nil, err
	}
	used := map[int]time.Duration{}
	for _, pid := range pids {
		if used[pid], err = proc.CPU(pid); err != nil {
			return nil, err
		}
	}
	return used, nil
}

// since is what processes have used between two looks.
func since(before, now map[int]time.Duration) (sum time.Duration) {
	for pid, used := range now {
		sum += max(0, used-before[pid])
	}
	return sum
}
