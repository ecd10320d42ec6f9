// Package figures holds what a benchmark has measured, and what follows from it: quantiles, and the ratios that the
// project is held to. It measures nothing itself.
package figures

import (
	"encoding/json"
	"maps"
	"slices"
)

// The contenders' names.
const (
	Cold   = "dynod cold"
	Warm   = "dynod warm"
	Ctr    = "ctr run"
	Docker = "docker run"
	Podman = "podman run"
)

// The figures that ratios are made of. Those without a unit in their name are times in seconds.
const (
	Main     = "order to main"
	Line     = "order to first line"
	Up       = "order to up"
	Stop     = "SIGTERM to reported down"
	At64     = "starts per second, 64 at once"
	Idle200  = "bytes per idle dyno, 200 of them"
	MainOf1  = "order to main, 1 running"
	Main200  = "order to main, 200 running"
	Recovery = "agent started until 200 adopted"
	First    = "large slug, first start"
	Apply    = "large slug, containerd's apply"
	Second   = "large slug, second start"
	Empty    = "empty slug"

	FirstZstd = "large tar.zst slug, first start"
	ApplyZstd = "large tar.zst slug, containerd's apply"
)

// Figures are measurements by figure and contender. The zero value is empty.
type Figures struct {
	names    []string // in the order in which they first came
	measured map[string]map[string]Series
}

// Add adds one measurement.
func (f *Figures) Add(figure, contender string, value float64) {
	if f.measured == nil {
		f.measured = map[string]map[string]Series{}
	}
	if f.measured[figure] == nil {
		f.names = append(f.names, figure)
		f.measured[figure] = map[string]Series{}
	}
	f.measured[figure][contender] = append(f.measured[figure][contender], value)
}

// Of is what was measured of one figure by one contender; empty: nothing.
func (f *Figures) Of(figure, contender string) Series { return f.measured[figure][contender] }

// Summary is one contender's part of a figure. A ratio is that of the medians, absent where the other has none.
type Summary struct {
	Runs     int      `json:"runs"`
	P50      float64  `json:"p50"`
	P99      float64  `json:"p99"`
	VsCtr    *float64 `json:"vs_ctr"`
	VsDocker *float64 `json:"vs_docker"`
}

func (f *Figures) summary(figure, contender string) Summary {
	s := f.Of(figure, contender)
	return Summary{
		Runs: len(s), P50: s.Quantile(0.5), P99: s.Quantile(0.99),
		VsCtr: f.over(figure, contender, Ctr), VsDocker: f.over(figure, contender, Docker),
	}
}

// over is a contender's median as a part of another's; nil: one of them has none.
func (f *Figures) over(figure, contender, other string) *float64 {
	return divide(f.Of(figure, contender).median(), f.Of(figure, other).median())
}

// MarshalJSON is an object of the figures, each an object of its contenders.
func (f *Figures) MarshalJSON() ([]byte, error) {
	all := map[string]map[string]Summary{}
	for _, figure := range f.names {
		all[figure] = map[string]Summary{}
		for contender := range f.measured[figure] {
			all[figure][contender] = f.summary(figure, contender)
		}
	}
	return json.Marshal(all)
}

// contenders are those of a figure, the project's own first.
func (f *Figures) contenders(figure string) []string {
	known := []string{Warm, Cold, Ctr, Docker, Podman}
	others := slices.Sorted(maps.Keys(f.measured[figure]))
	here := func(name string) bool { return !slices.Contains(others, name) }
	return append(slices.DeleteFunc(slices.Clone(known), here),
		slices.DeleteFunc(others, func(name string) bool { return slices.Contains(known, name) })...)
}
