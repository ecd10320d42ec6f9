package main

import (
	"context"
	"fmt"
	"strings"
)

// Result is what was measured. CPU is in milliseconds unless it says otherwise.
type Result struct {
	Settings
	Heartbeats Heartbeats `json:"heartbeats"`
	Logs       Logs       `json:"logs"`
	Storms     []Storm    `json:"storms"` // the first is the fleet's own start
}

// Heartbeats is a fleet that has nothing new to say.
type Heartbeats struct {
	Reports       int     `json:"reports"`
	Bytes         float64 `json:"bytes_of_a_report"`
	SnapshotBytes float64 `json:"bytes_of_a_full_report"`
	PlaneCPU      float64 `json:"control_plane_cpu_of_a_report"`
	HostCPU       float64 `json:"host_cpu_of_a_report"`
	HostsPerCore  float64 `json:"hosts_per_core"` // of the control plane, at this heartbeat
}

// heartbeats measures them.
func (f *fleet) heartbeats(ctx context.Context) (h Heartbeats, err error) {
	if err := pause(ctx, f.Heartbeat); err != nil { // until the starts are reported
		return h, err
	}
	before, err := f.plane.news()
	if err != nil {
		return h, err
	}
	for _, r := range before {
		h.SnapshotBytes = max(h.SnapshotBytes, float64(r.size)) // all changes of a host in one are as much
	}
	used, err := f.during(ctx, func(ctx context.Context) error { return pause(ctx, f.Steady) })
	if err != nil {
		return h, err
	}
	all, err := f.plane.news()
	if err != nil {
		return h, err
	}
	for _, r := range all {
		h.Bytes += float64(r.size) / float64(len(all))
	}
	h.Reports = len(all)
	h.PlaneCPU = 1000 * used.plane.Seconds() / float64(h.Reports)
	h.HostCPU = 1000 * used.hosts.Seconds() / float64(h.Reports)
	h.HostsPerCore = 1000 * f.Heartbeat.Seconds() / h.PlaneCPU
	return h, nil
}

func (r Result) String() string {
	var b strings.Builder
	h, l := r.Heartbeats, r.Logs
	fmt.Fprintf(&b, "%d hosts with %d dynos each, a heartbeat every %s\n", r.Hosts, r.Dynos, r.Heartbeat)
	fmt.Fprintf(&b, "heartbeats: %d reports of %.0f bytes; each costs the control plane %.3f ms of CPU and a host %.3f ms: %.0f hosts a core\n",
		h.Reports, h.Bytes, h.PlaneCPU, h.HostCPU, h.HostsPerCore)
	fmt.Fprintf(&b, "logs: %.0f lines/s (%.1f MB/s) in batches of %d lines; control plane %.2f ms a MB, %.0f lines/s a core; a host %.2f ms a MB; a batch is acknowledged after %.1f ms (half), %.1f ms (99 %%)\n",
		l.Lines, l.Megabytes, l.Batch, l.PlaneCPU, l.LinesPerCore, l.HostCPU, l.P50, l.P99)
	for _, s := range r.Storms {
		fmt.Fprintf(&b, "%s\n", s)
	}
	return b.String()
}
