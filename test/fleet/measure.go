package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/dynod/dynod/test/bench/proc"
)

// patience is how long the whole fleet may take to report.
const patience = 90 * time.Second

// Settings are what is simulated.
type Settings struct {
	Hosts     int           `json:"hosts"`
	Dynos     int           `json:"dynos_of_a_host"`
	Heartbeat time.Duration `json:"heartbeat_nanoseconds"`
	Steady    time.Duration `json:"-"`
	Outage    time.Duration `json:"-"`
}

// fleet is a run.
type fleet struct {
	Settings
	plane *plane
	hosts []*host
}

// Measure runs a fleet against the dynoplane program.
func Measure(ctx context.Context, s Settings, program string) (r Result, err error) {
	dir, err := os.MkdirTemp("/dev/shm", "dynod-fleet-") // secrets may lie on tmpfs only
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	f := &fleet{Settings: s, plane: &plane{program: program, dir: dir}}
	if err := f.plane.open(ctx); err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, f.plane.kill()) }()
	for n := range s.Hosts {
		h, err := newHost(n, s, f.plane.address, dir, f.plane.files("agent"))
		if err != nil {
			return r, err
		}
		f.hosts = append(f.hosts, h)
	}
	return f.run(ctx)
}

// run leads all hosts while it measures.
func (f *fleet) run(ctx context.Context) (r Result, err error) {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	group, ctx := errgroup.WithContext(ctx)
	for _, h := range f.hosts {
		group.Go(func() error { return h.run(ctx) })
	}
	r, err = f.measure(ctx)
	stop()
	for _, h := range f.hosts {
		err = errors.Join(err, h.conn.Close())
	}
	return r, errors.Join(err, group.Wait())
}

func (f *fleet) measure(ctx context.Context) (r Result, err error) {
	r.Settings = f.Settings
	first, err := f.storm(ctx, 0)
	if err != nil {
		return r, err
	}
	r.Storms = append(r.Storms, first)
	for _, h := range f.hosts {
		if err := h.start(ctx, f.Dynos); err != nil {
			return r, err
		}
	}
	if r.Heartbeats, err = f.heartbeats(ctx); err != nil {
		return r, err
	}
	if r.Logs, err = f.logs(ctx); err != nil {
		return r, err
	}
	for _, away := range []time.Duration{f.Outage / 10, f.Outage} {
		s, err := f.outage(ctx, away)
		if err != nil {
			return r, err
		}
		r.Storms = append(r.Storms, s)
	}
	return r, nil
}

// outage kills the control plane, starts it again after a while, and watches the hosts come back.
func (f *fleet) outage(ctx context.Context, away time.Duration) (Storm, error) {
	if err := f.plane.kill(); err != nil {
		return Storm{}, err
	}
	if _, err := f.plane.news(); err != nil { // those of the life that has ended
		return Storm{}, err
	}
	if err := pause(ctx, away); err != nil {
		return Storm{}, err
	}
	if err := f.plane.start(); err != nil {
		return Storm{}, err
	}
	return f.storm(ctx, away)
}

// storm waits until every host has told all about itself.
func (f *fleet) storm(ctx context.Context, away time.Duration) (Storm, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	seen := map[string]time.Duration{}
	for len(seen) < f.Hosts {
		if err := pause(ctx, 200*time.Millisecond); err != nil {
			return Storm{}, fmt.Errorf("%d of %d hosts have reported: %w", len(seen), f.Hosts, err)
		}
		all, err := f.plane.news()
		if err != nil {
			return Storm{}, err
		}
		for _, r := range all {
			if name := r.GetHost().GetName(); r.GetSnapshot() && seen[name] == 0 {
				seen[name] = r.received.Sub(f.plane.since)
			}
		}
	}
	var arrivals []time.Duration
	for _, at := range seen {
		arrivals = append(arrivals, at)
	}
	s := stormOf(arrivals)
	s.Away = away.Seconds()
	taken, err := connections()
	if err != nil {
		return s, err
	}
	s.Taken = taken - f.plane.taken
	used, err := f.plane.used()
	s.CPU = used.Seconds()
	return s, err
}

// pause waits.
func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// cost is CPU time over a while.
type cost struct{ plane, hosts time.Duration }

// during measures both sides' CPU time while f runs.
func (f *fleet) during(ctx context.Context, what func(context.Context) error) (cost, error) {
	look := func() (c cost, err error) {
		if c.plane, err = f.plane.used(); err == nil {
			c.hosts, err = proc.CPU(os.Getpid())
		}
		return c, err
	}
	before, err := look()
	if err != nil {
		return cost{}, err
	}
	if err := what(ctx); err != nil {
		return cost{}, err
	}
	after, err := look()
	return cost{after.plane - before.plane, after.hosts - before.hosts}, err
}
