package main

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/dynod/dynod/test/rig"
)

func TestStorm(t *testing.T) {
	var arrivals []time.Duration
	for n := range 100 {
		arrivals = append(arrivals, time.Duration(99-n)*50*time.Millisecond)
	}
	got := stormOf(arrivals)
	want := Storm{Hosts: 100, First: 0, P50: 2.45, P99: 4.9, Last: 4.95, Peak: 20, Busiest: 2}
	if got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

// TestFleet has a few hosts come, report, ship logs, and come back twice.
func TestFleet(t *testing.T) {
	if testing.Short() {
		t.Skip("takes its time; it runs with the tests of the test host")
	}
	bin, err := rig.BuildPlain(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	s := Settings{Hosts: 20, Dynos: 2, Heartbeat: time.Second, Steady: 3 * time.Second, Outage: time.Second}
	r, err := Measure(t.Context(), s, filepath.Join(bin, "dynoplane"))
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Storms) != 3 || r.Storms[2].Hosts != s.Hosts || r.Storms[2].CPU <= 0 {
		t.Errorf("storms: %+v", r.Storms)
	}
	if r.Heartbeats.Reports < s.Hosts || r.Heartbeats.SnapshotBytes <= r.Heartbeats.Bytes || r.Heartbeats.PlaneCPU <= 0 || r.Heartbeats.HostCPU <= 0 {
		t.Errorf("heartbeats: %+v", r.Heartbeats)
	}
	if r.Logs.Lines <= 0 || r.Logs.PlaneCPU <= 0 || r.Logs.P99 < r.Logs.P50 {
		t.Errorf("logs: %+v", r.Logs)
	}
}
