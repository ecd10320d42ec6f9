package main

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"
)

// lineBytes is the length of a line.
const lineBytes = 100

// dockerName is what the others are compared with.
const dockerName = "docker run, json-file"

// figures is all that was measured.
type figures struct {
	Arms    []arm    `json:"arms"`
	Latency *latency `json:"latency"`
	Memory  *memory  `json:"memory,omitempty"`
}

// arm is one way of a line. Everything but Runs is of the median run.
type arm struct {
	Name        string             `json:"name"`
	Lines       int                `json:"lines"`
	Seconds     float64            `json:"seconds"`     // from the first line's write until the last is where it belongs
	CPUSeconds  float64            `json:"cpu_seconds"` // of all helping processes
	LinesPerCPU float64            `json:"lines_per_cpu_second"`
	MegabyteMS  float64            `json:"cpu_milliseconds_per_megabyte"`
	OverDocker  float64            `json:"lines_per_cpu_second_over_docker"`
	Runs        []sample           `json:"runs"`
	ByProcess   map[string]float64 `json:"cpu_seconds_by_process"`
}

// sample is one run.
type sample struct {
	Seconds    float64 `json:"seconds"`
	CPUSeconds float64 `json:"cpu_seconds"`
	byProcess  map[string]float64
}

// subject is a generator that waits for its go.
type subject struct {
	dir  string                      // of its files
	done func(context.Context) error // returns when its last line is where it belongs
	stop func(context.Context) error
}

// repeat measures one arm.
func (f *figures) repeat(ctx context.Context, b *bench, name string, begin func(context.Context) (subject, error)) error {
	a := arm{Name: name, Lines: b.lines}
	for n := range b.runs {
		s, err := begin(ctx)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		r, err := b.sample(ctx, s)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if err := s.stop(ctx); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		a.Runs = append(a.Runs, r)
		fmt.Printf("%s, %d of %d: %.2f s, %.2f s of CPU\n", name, n+1, b.runs, r.Seconds, r.CPUSeconds)
	}
	sorted := slices.SortedFunc(slices.Values(a.Runs), func(x, y sample) int { return cmp.Compare(x.CPUSeconds, y.CPUSeconds) })
	r := sorted[len(sorted)/2]
	a.Seconds, a.CPUSeconds, a.ByProcess = r.Seconds, r.CPUSeconds, r.byProcess
	a.LinesPerCPU = float64(a.Lines) / r.CPUSeconds
	a.MegabyteMS = 1000 * r.CPUSeconds / a.megabytes()
	f.Arms = append(f.Arms, a)
	f.relate()
	return nil
}

func (a arm) megabytes() float64 { return float64(a.Lines) * lineBytes / 1e6 }

// relate compares all with Docker once that is known.
func (f *figures) relate() {
	for _, d := range f.Arms {
		if d.Name != dockerName {
			continue
		}
		for i := range f.Arms {
			f.Arms[i].OverDocker = f.Arms[i].LinesPerCPU / d.LinesPerCPU
		}
	}
}

// sample lets a generator go and waits for the end.
func (b *bench) sample(ctx context.Context, s subject) (sample, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	if err := b.lend(); err != nil {
		return sample{}, err
	}
	before, err := b.usage()
	if err != nil {
		return sample{}, err
	}
	began := time.Now()
	if err := touch(s.dir, "go"); err != nil {
		return sample{}, err
	}
	if err := s.done(ctx); err != nil {
		return sample{}, err
	}
	took := time.Since(began)
	after, err := b.usage()
	if err != nil {
		return sample{}, err
	}
	r := sample{Seconds: took.Seconds(), byProcess: map[string]float64{}}
	for p, used := range after {
		used -= before[p]
		r.CPUSeconds += used.Seconds()
		r.byProcess[p.name] += used.Seconds()
	}
	return r, nil
}

func (f figures) table() string {
	var t strings.Builder
	fmt.Fprintf(&t, "\n%-30s %10s %8s %10s %12s %13s %10s\n",
		"lines of 100 bytes", "lines/s", "MB/s", "CPU-s/M", "CPU-ms/MB", "lines/CPU-s", "× docker")
	for _, a := range f.Arms {
		fmt.Fprintf(&t, "%-30s %10.0f %8.1f %10.3f %12.2f %13.0f %10.1f\n", a.Name, float64(a.Lines)/a.Seconds, a.megabytes()/a.Seconds,
			1e6*a.CPUSeconds/float64(a.Lines), a.MegabyteMS, a.LinesPerCPU, a.OverDocker)
	}
	if f.Latency != nil {
		t.WriteString("\n" + f.Latency.String() + "\n")
	}
	if f.Memory != nil {
		t.WriteString("\n" + f.Memory.String() + "\n")
	}
	return t.String()
}
