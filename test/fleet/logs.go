package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/dynod/dynod/agent/rpc"
	"github.com/dynod/dynod/logs"
)

// Logs is a fleet whose hosts each ship a batch a second.
type Logs struct {
	Lines        float64 `json:"lines_per_second"`
	Megabytes    float64 `json:"megabytes_per_second"`
	Batch        int     `json:"lines_of_a_batch"`
	PlaneCPU     float64 `json:"control_plane_cpu_of_a_megabyte"`
	LinesPerCore float64 `json:"lines_per_second_and_core"` // of the control plane
	HostCPU      float64 `json:"host_cpu_of_a_megabyte"`    // without capture and cutting of lines
	P50          float64 `json:"acknowledged_p50_milliseconds"`
	P99          float64 `json:"acknowledged_p99_milliseconds"`
}

const (
	batchLines = 50
	batchEvery = time.Second
)

// shipments are what all hosts have shipped.
type shipments struct {
	mu    sync.Mutex
	took  []time.Duration // from sending a batch to its acknowledgement
	bytes int
}

// logs measures shipping, through the real client and what it does with a batch.
func (f *fleet) logs(ctx context.Context) (l Logs, err error) {
	var s shipments
	used, err := f.during(ctx, func(ctx context.Context) error {
		group, ctx := errgroup.WithContext(ctx)
		until := time.Now().Add(f.Steady)
		for _, h := range f.hosts {
			group.Go(func() error { return h.ship(ctx, until, &s) })
		}
		return group.Wait()
	})
	if err != nil {
		return l, err
	}
	slices.Sort(s.took)
	batches, megabytes := len(s.took), float64(s.bytes)/1e6
	lines := float64(batches * batchLines)
	at := func(part float64) float64 { return 1000 * s.took[int(part*float64(batches-1))].Seconds() }
	return Logs{
		Lines: lines / f.Steady.Seconds(), Megabytes: megabytes / f.Steady.Seconds(), Batch: batchLines,
		PlaneCPU: 1000 * used.plane.Seconds() / megabytes, LinesPerCore: lines / used.plane.Seconds(),
		HostCPU: 1000 * used.hosts.Seconds() / megabytes, P50: at(0.5), P99: at(0.99),
	}, nil
}

// ship ships a batch a second, from a moment of the host's own.
func (h *host) ship(ctx context.Context, until time.Time, s *shipments) error {
	if err := pause(ctx, rand.N(batchEvery)); err != nil {
		return err
	}
	tick := time.NewTicker(batchEvery)
	defer tick.Stop()
	shipper, key, offset := rpc.NewShipper(h.conn, h.name()), logs.Key{Dyno: h.dyno(0), Stream: logs.Stdout}, int64(0)
	for id := uint64(1); time.Now().Before(until); id++ {
		text := prose(h.number, int(id))
		began := time.Now()
		ack, err := shipper.Send(ctx, logs.Batch{ID: id, Runs: []logs.Run{{Key: key, Offset: offset, Text: text, Time: began}}})
		if err != nil {
			return err
		}
		if offset += int64(len(text)); ack.Offsets[key] != offset {
			return fmt.Errorf("%s: acknowledged up to %d, not %d", h.name(), ack.Offsets[key], offset)
		}
		s.add(time.Since(began), len(text))
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

func (s *shipments) add(took time.Duration, bytes int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.took, s.bytes = append(s.took, took), s.bytes+bytes
}

// prose is a batch of lines as a web server writes them, each with something of its own.
func prose(host, batch int) []byte {
	var text []byte
	for n := range batchLines {
		text = fmt.Appendf(text, "10.1.%d.%d - - \"GET /orders/%08x?page=%d HTTP/1.1\" 200 %d \"Mozilla/5.0 (X11; Linux x86_64)\" rt=0.%03d\n",
			host%256, n, rand.Uint32(), batch, 200+rand.IntN(9000), rand.IntN(1000))
	}
	return text
}
