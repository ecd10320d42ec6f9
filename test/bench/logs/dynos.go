package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"

	"github.com/dynod/dynod/logs/spool"
	dynodv1 "github.com/dynod/dynod/proto/dynod/v1"
	"github.com/dynod/dynod/test/exact/upstream"
	"github.com/dynod/dynod/test/rig"
)

// start starts a dyno with a generator.
func (b *bench) start(ctx context.Context, command string, change ...rig.Change) (id string, err error) {
	b.started++
	id = fmt.Sprintf("be4c4000-0000-4000-8000-%012d", b.started)
	_, err = b.API().StartDyno(ctx, rig.SlugOrder(id, "bench", "worker.1", command, b.slug, b.sum, change...))
	return id, err
}

// flood is a dyno whose generator waits for its go.
func (b *bench) flood(ctx context.Context) (id string, s subject, err error) {
	if id, err = b.start(ctx, "./gen flood "+strconv.Itoa(b.lines)); err != nil {
		return "", subject{}, err
	}
	d, err := b.AwaitPhase(ctx, id, dynodv1.Phase_PHASE_UP)
	s.dir = fmt.Sprintf("/proc/%d/root/tmp", d.GetPid())
	s.stop = func(ctx context.Context) error { return b.end(ctx, id) }
	return id, s, err
}

func (b *bench) end(ctx context.Context, ids ...string) error {
	for _, id := range ids {
		if _, err := b.API().StopDyno(ctx, &dynodv1.StopDynoRequest{Header: &dynodv1.OrderHeader{DynoId: id, Generation: 1}}); err != nil {
			return err
		}
	}
	for _, id := range ids {
		if _, err := b.AwaitPhase(ctx, id, dynodv1.Phase_PHASE_DOWN); err != nil {
			return err
		}
	}
	return nil
}

// through ends when the control plane has acknowledged every line.
func (b *bench) through(ctx context.Context) (subject, error) {
	id, s, err := b.flood(ctx)
	s.done = func(ctx context.Context) error {
		k := upstream.Key{Dyno: id, Stream: dynodv1.LogStream_LOG_STREAM_STDOUT}
		err := b.Server.Reach(ctx, k, int64(b.lines)*lineBytes)
		if a, _ := b.Server.Of(k); a.Lost > 0 {
			err = errors.Join(err, fmt.Errorf("%d bytes were lost", a.Lost))
		}
		return errors.Join(err, errors.Join(b.Server.Errors()...))
	}
	return s, err
}

// toDisk ends when every line is in the spool. Nothing can be shipped meanwhile.
func (b *bench) toDisk(ctx context.Context) (subject, error) {
	id, s, err := b.flood(ctx)
	s.done = func(ctx context.Context) error {
		dir := filepath.Join(b.Lab.Dir(), "state", "spool", id)
		return rig.Await(ctx, "the spool to hold every line", func() (bool, error) {
			tail, err := spool.Tail(dir, spool.Stdout)
			return tail == int64(b.lines)*lineBytes, err
		})
	}
	return s, err
}
