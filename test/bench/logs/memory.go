package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	dynodv1 "github.com/dynod/dynod/proto/dynod/v1"
	"github.com/dynod/dynod/test/rig"
)

const (
	// steadyBytes a second on each of two streams are about 100 lines.
	steadyBytes = 11_500
	steadyTime  = 30 * time.Second
)

// memory is what agent and capture hold while many dynos log about 100 lines a second each, all of it shipped.
type memory struct {
	Dynos          int     `json:"dynos"`
	LinesPerSecond float64 `json:"lines_per_second"` // acknowledged upstream
	Agent          int64   `json:"agent_bytes"`
	AgentPeak      int64   `json:"agent_peak_bytes"`
	Capture        int64   `json:"capture_bytes"`
	CapturePeak    int64   `json:"capture_peak_bytes"`
	CPUSeconds     float64 `json:"cpu_seconds_per_second"` // of both
}

func (m *memory) String() string {
	const mib = 1 << 20
	return fmt.Sprintf("beside %d dynos with %.0f lines/s in all: agent %.1f MiB resident (peak %.1f), capture %.1f MiB (peak %.1f), %.2f cores",
		m.Dynos, m.LinesPerSecond, float64(m.Agent)/mib, float64(m.AgentPeak)/mib, float64(m.Capture)/mib, float64(m.CapturePeak)/mib, m.CPUSeconds)
}

func (b *bench) memory(ctx context.Context) (*memory, error) {
	var ids []string
	tiny := func(o *dynodv1.StartDynoRequest) { o.Spec.Size = "tiny" }
	for range b.dynos {
		id, err := b.start(ctx, "./gen numbered", tiny, rig.Env("RATE", strconv.Itoa(steadyBytes)), rig.Env("SEED", strconv.Itoa(2*b.started)))
		if err != nil {
			return nil, err
		}
		ids = append(ids, id)
		// Some at a time: starts are not what is measured.
		if _, err := b.AwaitPhase(ctx, ids[max(0, len(ids)-4)], dynodv1.Phase_PHASE_UP); err != nil {
			return nil, err
		}
	}
	fmt.Printf("%d dynos are started\n", b.dynos)
	m, err := b.watch(ctx)
	if err != nil {
		return nil, err
	}
	m.Dynos = b.dynos
	return m, b.end(ctx, ids...)
}

// watch lets the dynos speak for a while and looks at the end.
func (b *bench) watch(ctx context.Context) (*memory, error) {
	before, err := b.usage()
	if err != nil {
		return nil, err
	}
	lines, began := b.Server.Sum().Lines, time.Now()
	select {
	case <-time.After(steadyTime):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	took := time.Since(began).Seconds()
	m := &memory{LinesPerSecond: float64(b.Server.Sum().Lines-lines) / took}
	after, err := b.usage()
	if err != nil {
		return nil, err
	}
	for p, used := range after {
		if p.name == "dynod" {
			m.CPUSeconds += (used - before[p]).Seconds() / took
		}
	}
	capture, err := os.ReadFile(filepath.Join(b.Lab.Run(), "d", "capture.pid"))
	if err != nil {
		return nil, err
	}
	if m.Agent, m.AgentPeak, err = resident(strconv.Itoa(b.AgentPID())); err != nil {
		return nil, err
	}
	m.Capture, m.CapturePeak, err = resident(string(bytes.TrimSpace(capture)))
	return m, err
}

// resident is what a process holds in memory now and held at most, in bytes.
func resident(pid string) (now, most int64, err error) {
	data, err := os.ReadFile(filepath.Join("/proc", pid, "status"))
	if err != nil {
		return 0, 0, err
	}
	for name, to := range map[string]*int64{"VmRSS:": &now, "VmHWM:": &most} {
		_, rest, found := bytes.Cut(data, []byte(name))
		if !found {
			return 0, 0, fmt.Errorf("process %s has no %s", pid, name)
		}
		if _, err := fmt.Sscanf(string(rest), "%d kB", to); err != nil {
			return 0, 0, err
		}
		*to <<= 10
	}
	return now, most, nil
}
