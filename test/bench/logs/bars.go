package main

import (
	"errors"
	"fmt"
)

// The names of the ways that have bars.
const (
	diskName     = "dynod, to disk"
	upstreamName = "dynod, acknowledged upstream"
)

// What is promised.
const (
	diskBar     = 15.0 // times Docker's lines per second of CPU
	upstreamBar = 6.0
	latencyBar  = 1.10      // times the median of a quiet dyno's lines, beside a flood
	agentBar    = 100 << 20 // bytes resident
	captureBar  = 30 << 20
)

// missed tells what is worse than promised.
func (f figures) missed() error {
	var errs []error
	least := func(what string, is, bar float64) {
		if !(is >= bar) {
			errs = append(errs, fmt.Errorf("%s: %.2f, at least %.2f is promised", what, is, bar))
		}
	}
	most := func(what string, is, bar float64) {
		if !(is <= bar) {
			errs = append(errs, fmt.Errorf("%s: %.2f, at most %.2f is promised", what, is, bar))
		}
	}
	least(diskName+", × docker", f.overDocker(diskName), diskBar)
	least(upstreamName+", × docker", f.overDocker(upstreamName), upstreamBar)
	if f.Latency != nil {
		most("latency beside a flood, × alone", f.Latency.OverAloneP50, latencyBar)
	}
	if f.Memory != nil {
		most("bytes of the agent", float64(f.Memory.Agent), agentBar)
		most("bytes of capture", float64(f.Memory.Capture), captureBar)
	}
	return errors.Join(errs...)
}

func (f figures) overDocker(name string) float64 {
	for _, a := range f.Arms {
		if a.Name == name {
			return a.OverDocker
		}
	}
	return 0
}
