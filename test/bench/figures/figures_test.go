package figures_test

import (
	"encoding/json"
	"maps"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/dynod/dynod/test/bench/figures"
)

func TestQuantile(t *testing.T) {
	var hundred figures.Series
	for i := range 100 {
		hundred = append(hundred, float64(100-i))
	}
	for _, c := range []struct {
		of      figures.Series
		q, want float64
	}{
		{nil, 0.5, 0},
		{figures.Series{3}, 0.5, 3},
		{figures.Series{3}, 0.99, 3},
		{figures.Series{3, 1}, 0.5, 1},
		{figures.Series{9, 1, 5}, 0.5, 5},
		{figures.Series{9, 1, 5}, 0.99, 9},
		{hundred, 0.5, 50},
		{hundred, 0.99, 99},
		{append(hundred, 101), 0.99, 100},
	} {
		if got := c.of.Quantile(c.q); got != c.want {
			t.Errorf("quantile %g of %d: got %g, want %g", c.q, len(c.of), got, c.want)
		}
	}
}

func measured() *figures.Figures {
	f := &figures.Figures{}
	for figure, of := range map[string]map[string][]float64{
		figures.Main:     {figures.Warm: {0.002, 0.002, 0.003}, figures.Cold: {0.04, 0.05, 0.06}, figures.Ctr: {0.1}, figures.Docker: {0.2}},
		figures.At64:     {figures.Warm: {1000}, figures.Cold: {60}, figures.Ctr: {30}, figures.Docker: {10}},
		figures.Stop:     {figures.Cold: {0.001}, figures.Warm: {0.002}, figures.Docker: {0.1}},
		figures.Idle200:  {figures.Cold: {1e6}, figures.Ctr: {4e6}},
		figures.MainOf1:  {figures.Cold: {0.05}, figures.Warm: {0.002}},
		figures.Main200:  {figures.Cold: {0.055}, figures.Warm: {0.0024}},
		figures.Recovery: {figures.Cold: {0.3}},
		figures.First:    {figures.Warm: {2}},
		figures.Apply:    {figures.Ctr: {5}},
		figures.Second:   {figures.Warm: {0.051}},
		figures.Empty:    {figures.Warm: {0.05}},

		figures.FirstZstd: {figures.Warm: {1}},
		figures.ApplyZstd: {figures.Ctr: {4}},
	} {
		for contender, values := range of {
			for _, v := range values {
				f.Add(figure, contender, v)
			}
		}
	}
	return f
}

// TestRatios has the keys that others read, each with its value.
func TestRatios(t *testing.T) {
	want := map[string]float64{
		"warm_start_vs_ctr": 0.02, "warm_start_vs_docker": 0.01, "cold_runc_vs_ctr": 0.5, "cold_vs_docker": 0.25,
		"warm_p99_vs_p50": 1.5, "cold_p99_vs_p50": 1.2, "starts64_warm_vs_ctr": 1000. / 30, "starts64_cold_vs_ctr": 2,
		"starts64_cold_vs_docker": 6, "stop_vs_docker": 0.02, "idle_memory_vs_ctr": 0.25, "start200_vs_start1": 1.2,
		"recovery200_seconds": 0.3, "slug_first_vs_apply": 0.4, "slug_zstd_first_vs_apply": 0.25, "slug_second_vs_empty": 1.02,
	}
	got := measured().Ratios()
	if keys := slices.Sorted(maps.Keys(got)); !slices.Equal(keys, slices.Sorted(maps.Keys(want))) {
		t.Errorf("keys: %v", keys)
	}
	for key, w := range want {
		if got[key] == nil || math.Abs(*got[key]-w) > 1e-9 {
			t.Errorf("%s: got %v, want %g", key, got[key], w)
		}
	}
}

func TestNothingMeasured(t *testing.T) {
	for key, r := range new(figures.Figures).Ratios() {
		if r != nil {
			t.Errorf("%s: %g", key, *r)
		}
	}
}

func TestJSON(t *testing.T) {
	data, err := json.Marshal(measured())
	if err != nil {
		t.Fatal(err)
	}
	var got map[string]map[string]figures.Summary
	if err := json.Unmarshal(data, &got); err != nil {
		t.Fatal(err)
	}
	cold := got[figures.Main][figures.Cold]
	if cold.Runs != 3 || cold.P50 != 0.05 || cold.P99 != 0.06 || *cold.VsCtr != 0.5 || *cold.VsDocker != 0.25 {
		t.Errorf("cold: %+v", cold)
	}
	if ours := got[figures.Stop][figures.Warm]; ours.VsCtr != nil || *ours.VsDocker != 0.02 {
		t.Errorf("ratio to what was not measured: %+v", ours)
	}
}

func TestTable(t *testing.T) {
	f := measured()
	f.Add(figures.Recovery, figures.Cold, 0.9)
	f.Add(figures.Recovery, figures.Cold, 0.9)
	table := strings.Join(strings.Fields(f.Table()), " ")
	for _, want := range []string{
		"dynod cold 3 50.00 ms 60.00 ms 0.500 0.250", "dynod cold 1 1.00 MB 1.00 MB 0.250 -",
		"warm_start_vs_ctr 0.020 at most 0.05 holds", "starts64_cold_vs_ctr 2.000 at least 1.4 holds", "recovery200_seconds 0.900 at most 0.5 MISSED",
	} {
		if !strings.Contains(table, want) {
			t.Errorf("%q is not in\n%s", want, f.Table())
		}
	}
	if empty := new(figures.Figures).Table(); strings.Count(empty, "not measured") != len(figures.Bars) {
		t.Errorf("table of nothing:\n%s", empty)
	}
}
