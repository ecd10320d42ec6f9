package main

import (
	"fmt"
	"slices"
	"time"
)

// Storm is how hosts came back to a control plane, in seconds from the moment it listened again.
type Storm struct {
	Away    float64 `json:"away_seconds"`
	Hosts   int     `json:"hosts"`
	First   float64 `json:"first"`
	P50     float64 `json:"p50"`
	P99     float64 `json:"p99"`
	Last    float64 `json:"last"`
	Peak    int     `json:"peak_in_a_second"`       // full reports in the busiest second
	Busiest int     `json:"peak_in_a_tenth_second"` // in the busiest tenth of one
	Taken   int64   `json:"connections"`            // that the machine took meanwhile: more than hosts where some gave up
	CPU     float64 `json:"control_plane_cpu_seconds"`
}

// stormOf is the storm of these arrivals.
func stormOf(arrivals []time.Duration) Storm {
	sorted := slices.Sorted(slices.Values(arrivals))
	at := func(part float64) float64 { return sorted[int(part*float64(len(sorted)-1))].Seconds() }
	return Storm{
		Hosts: len(sorted), First: at(0), P50: at(0.5), P99: at(0.99), Last: at(1),
		Peak: busiest(sorted, time.Second), Busiest: busiest(sorted, time.Second/10),
	}
}

// busiest is how many of the sorted arrivals came within any one such time.
func busiest(sorted []time.Duration, within time.Duration) (most int) {
	first := 0
	for i, at := range sorted {
		for at-sorted[first] >= within {
			first++
		}
		most = max(most, i-first+1)
	}
	return most
}

func (s Storm) String() string {
	return fmt.Sprintf("away for %.1f s: %d hosts back after %.2f s (first), %.2f (half), %.2f (99 %%), %.2f (last); at most %d in a second, %d in 0.1 s; %d connections; control plane %.2f s of CPU",
		s.Away, s.Hosts, s.First, s.P50, s.P99, s.Last, s.Peak, s.Busiest, s.Taken, s.CPU)
}
