package main

import (
	"math"
	"strings"
	"testing"
)

func TestBars(t *testing.T) {
	good := func() figures {
		return figures{
			Arms:    []arm{{Name: diskName, OverDocker: 15}, {Name: upstreamName, OverDocker: 6}, {Name: dockerName, OverDocker: 1}},
			Latency: &latency{OverAloneP50: 1.1}, Memory: &memory{Agent: 100 << 20, Capture: 30 << 20},
		}
	}
	if err := good().missed(); err != nil {
		t.Error(err)
	}
	for name, worse := range map[string]func(*figures){
		diskName:      func(f *figures) { f.Arms[0].OverDocker = 14.9 },
		upstreamName:  func(f *figures) { f.Arms = f.Arms[:1] },
		"latency":     func(f *figures) { f.Latency.OverAloneP50 = math.NaN() },
		"the agent":   func(f *figures) { f.Memory.Agent++ },
		"of capture:": func(f *figures) { f.Memory.Capture++ },
	} {
		f := good()
		worse(&f)
		if err := f.missed(); err == nil || !strings.Contains(err.Error(), name) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
