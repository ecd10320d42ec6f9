package main

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	dynodv1 "github.com/dynod/dynod/proto/dynod/v1"
)

// latency is how long a quiet dyno's lines take from their write until the control plane has received them, alone and
// beside a dyno that floods, in turns.
type latency struct {
	Alone        times   `json:"alone"`
	BesideFlood  times   `json:"beside_a_flood"`
	OverAloneP50 float64 `json:"p50_over_alone"`
	OverAloneP99 float64 `json:"p99_over_alone"`
}

// times are of many lines, in milliseconds.
type times struct {
	Lines int     `json:"lines"`
	P50   float64 `json:"p50_ms"`
	P99   float64 `json:"p99_ms"`
	took  []time.Duration
}

func (t *times) sum() {
	slices.Sort(t.took)
	t.Lines = len(t.took)
	at := func(percent int) float64 { return t.took[(t.Lines-1)*percent/100].Seconds() * 1000 }
	t.P50, t.P99 = at(50), at(99)
}

func (l *latency) String() string {
	return fmt.Sprintf("a quiet dyno's line is upstream within %.1f ms (99 of 100: %.1f), beside a flood within %.1f (%.1f): %.2f and %.2f times that",
		l.Alone.P50, l.Alone.P99, l.BesideFlood.P50, l.BesideFlood.P99, l.OverAloneP50, l.OverAloneP99)
}

// ear takes the times that one dyno tells.
type ear struct {
	dyno string
	mu   sync.Mutex
	took []time.Duration
}

// hear takes a run of lines that tell when they were written.
func (e *ear) hear(r *dynodv1.LogRun) {
	if r.GetDynoId() != e.dyno || r.GetStream() != dynodv1.LogStream_LOG_STREAM_STDOUT {
		return
	}
	now := time.Now()
	e.mu.Lock()
	defer e.mu.Unlock()
	for text := range strings.Lines(string(r.GetText())) {
		if nanos, err := strconv.ParseInt(strings.TrimSpace(text), 10, 64); err == nil {
			e.took = append(e.took, now.Sub(time.Unix(0, nanos)))
		}
	}
}

// taken gives what was heard since it was asked last.
func (e *ear) taken() []time.Duration {
	e.mu.Lock()
	defer e.mu.Unlock()
	took := e.took
	e.took = nil
	return took
}

// latency floods for a while, then leaves the quiet dyno alone for as long, again and again.
func (b *bench) latency(ctx context.Context) (*latency, error) {
	quiet, err := b.start(ctx, "./gen clock")
	if err != nil {
		return nil, err
	}
	if _, err := b.AwaitPhase(ctx, quiet, dynodv1.Phase_PHASE_UP); err != nil {
		return nil, err
	}
	e := &ear{dyno: quiet}
	b.Server.Listen(e.hear)
	defer b.Server.Listen(func(*dynodv1.LogRun) {})
	l := &latency{}
	for range b.runs {
		if err := b.alternate(ctx, e, l); err != nil {
			return nil, err
		}
	}
	l.Alone.sum()
	l.BesideFlood.sum()
	l.OverAloneP50, l.OverAloneP99 = l.BesideFlood.P50/l.Alone.P50, l.BesideFlood.P99/l.Alone.P99
	fmt.Println(l)
	return l, b.end(ctx, quiet)
}

// alternate measures once beside a flood, which ends when all of it is acknowledged, and once without.
func (b *bench) alternate(ctx context.Context, e *ear, l *latency) error {
	s, err := b.through(ctx)
	if err != nil {
		return err
	}
	e.taken()
	r, err := b.sample(ctx, s)
	if err != nil {
		return err
	}
	l.BesideFlood.took = append(l.BesideFlood.took, e.taken()...)
	if err := s.stop(ctx); err != nil {
		return err
	}
	e.taken()
	select {
	case <-time.After(time.Duration(r.Seconds * float64(time.Second))):
	case <-ctx.Done():
		return ctx.Err()
	}
	l.Alone.took = append(l.Alone.took, e.taken()...)
	return nil
}
