package contract_test

import (
	"errors"
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"time"

	dynodv1 "github.com/dynod/dynod/proto/dynod/v1"
	"github.com/dynod/dynod/test/rig"
)

func memory() []sentence {
	return []sentence{
		{"M1", "Over its quota, counted as resident, swapped and cached memory together, a dyno whose size and host have swap lives on, and writes `Process running mem=<n>M(<n>%)` and `Error R14 (Memory quota exceeded)` at each sample, about every 20 seconds. Where there is no swap, the quota is the end.", (*stage).overQuota},
		{"M2", "R15: at twice its quota without cache, or when the kernel ends one of its processes for its own limit, `Process running mem=<n>M(<n>%)`, `Error R15 (Memory quota vastly exceeded)`, `Stopping process with SIGKILL`, `Process exited with status 137`, and it is crashed.", func(s *stage) error {
			l := s.hog().life
			if l.err != nil {
				return l.err
			}
			got := rig.Texts(l.lines, "platform")
			if len(got) > 2 && memoryLine.MatchString(got[len(got)-5]) {
				got = append(got[:2:2], got[len(got)-4:]...) // R14 may have come before
			}
			want := []string{starting("./web alloc 256"), toUp, "Error R15 (Memory quota vastly exceeded)", killing, exited(137), upCrashed}
			return errors.Join(same(got, want...), l.exit(crashed, 137, "R15"), unless(l.dyno.GetExit().GetOutOfMemory(), "it is not said to be for memory"))
		}},
		{"M3", "`mem=` is in whole MiB, rounded down, and the percentage of the quota has one decimal.", func(s *stage) error { return s.hog().life.memoryLines(64) }},
		{"M4", "The other dynos of the host do not notice: their processes stay.", func(s *stage) error { return s.hog().neighbour }},
		{"M5", "A process that the kernel ends is the end of the whole dyno, whatever its parent makes of it.", func(s *stage) error {
			l := s.play(s.order("worker.1", "./web alloc 256; echo survived; sleep 600", memoryOf(64*mib)))
			return errors.Join(l.exit(crashed, 137, "R15"))
		}},
		{"M6", "Status 137 without want of memory is no R15.", func(s *stage) error {
			l := s.run("kill -9 $$")
			return errors.Join(l.exit(complete, 137, ""), unless(!l.dyno.GetExit().GetOutOfMemory(), "it is said to be for memory"))
		}},
		{"M7", "A one-off dyno that runs out of memory ends `complete`, with R15 and status 137.", func(s *stage) error {
			return s.run("./web alloc 256", memoryOf(64*mib)).exit(complete, 137, "R15")
		}},
		{"M8", "With runtime metrics ordered, a line tells the load about every 20 seconds: `source=<name> dyno=heroku.<app id>.<dyno id> sample#load_avg_1m=<n>`.", func(s *stage) error {
			return s.metrics().metricLines(loadLine)
		}},
		{"M9", "The averages over 5 and 15 minutes come once the dyno is that old.", func(s *stage) error {
			l := s.metrics()
			return errors.Join(l.metricLines(loadLine), unless(!contains(strings.Join(texts(l.lines), "\n"), "load_avg_5m"), "a young dyno has them"))
		}},
		{"M10", "Another line tells the memory: `sample#memory_total=<n>MB sample#memory_rss=<n>MB sample#memory_cache=<n>MB sample#memory_swap=<n>MB sample#memory_pgpgin=<n>pages sample#memory_pgpgout=<n>pages sample#memory_quota=<n>MB`.", func(s *stage) error {
			return s.metrics().metricLines(usageLine)
		}},
		{"M11", "Load counts the dyno's own tasks alone, and memory its own: one busy process is a load of about 1, 64 MiB held are at least 64 MB.", func(s *stage) error { return s.metrics().plausible() }},
		{"M12", "A dyno whose order does not ask has no such lines.", func(s *stage) error {
			return errors.Join(s.deaf().err, unless(!contains(strings.Join(texts(s.deaf().lines), "\n"), "sample#"), "it has"))
		}},
	}
}

var (
	memoryLine = regexp.MustCompile(`^Process running mem=([0-9]+)M\(([0-9]+\.[0-9])%\)$`)
	loadLine   = regexp.MustCompile(`^source=worker\.1 dyno=heroku\.app-1\.[-0-9a-f]{36} sample#load_avg_1m=([0-9]+\.[0-9]{2})$`)
	usageLine  = regexp.MustCompile(`^source=worker\.1 dyno=heroku\.app-1\.[-0-9a-f]{36} sample#memory_total=([0-9]+\.[0-9]{2})MB sample#memory_rss=([0-9]+\.[0-9]{2})MB ` +
		`sample#memory_cache=[0-9]+\.[0-9]{2}MB sample#memory_swap=[0-9]+\.[0-9]{2}MB sample#memory_pgpgin=[0-9]+pages sample#memory_pgpgout=[0-9]+pages sample#memory_quota=512\.00MB$`)
)

// hogging is a dyno that takes four times its quota, and what became of another beside it.
type hogging struct {
	life      life
	neighbour error
}

func (s *stage) hog() hogging {
	return scene(s, "hog", func() (h hogging) {
		l := s.play(s.order("worker.2", "./web worker"), s.said("seq=1"), func(id string) error {
			before, err := s.pid(id)
			h.life = s.play(s.order("worker.1", "./web alloc 256", memoryOf(64*mib)))
			after, err2 := s.pid(id)
			h.neighbour = errors.Join(err, err2, unless(before == after && after != 0, "its process was %d and is %d", before, after))
			return nil
		}, s.stop(""))
		h.neighbour = errors.Join(h.neighbour, l.err, l.exit(down, 0, ""))
		return h
	})
}

// overQuota has a dyno fill 1.1 times its quota, on a host with swap for two samples.
func (s *stage) overQuota() error {
	o := s.order("worker.1", "./web alloc 105", memoryOf(96*mib))
	if !swap() {
		return s.play(o).exit(crashed, 137, "R15")
	}
	l := s.play(o, s.said("holding 105 MiB"), s.said("Error R14 (Memory quota exceeded)"), wait(21*time.Second), s.stop(""))
	samples := rigCount(l, "Error R14 (Memory quota exceeded)")
	return errors.Join(l.exit(down, 0, ""), l.memoryLines(96), unless(samples >= 2, "%d samples told of it", samples))
}

func swap() bool {
	data, err := os.ReadFile("/proc/swaps")
	return err == nil && strings.Count(string(data), "\n") > 1
}

// memoryLines checks that mem= and percentage of each line fit one another and a quota of so many MiB. There must be one.
func (l life) memoryLines(quota float64) error {
	if l.err != nil {
		return l.err
	}
	found := 0
	for _, text := range texts(l.lines) {
		m := memoryLine.FindStringSubmatch(text)
		if m == nil {
			continue
		}
		found++
		mib, _ := strconv.ParseFloat(m[1], 64)
		percent, _ := strconv.ParseFloat(m[2], 64)
		if total := percent / 100 * quota; total < mib-0.05 || total > mib+1.05 || percent < 100 {
			return fmt.Errorf("%q with a quota of %g MiB", text, quota)
		}
	}
	return unless(found > 0, "no line tells of memory: %q", texts(l.lines))
}

// metrics is a dyno that keeps one CPU busy and holds 64 MiB for two samples.
func (s *stage) metrics() life {
	return scene(s, "metrics", func() life {
		o := s.order("worker.1", "./web alloc 64 & trap 'kill %1 %2; exit 0' TERM; (while :; do :; done) & echo ready; wait", func(o *dynodv1.StartDynoRequest) {
			o.Spec.LogRuntimeMetrics, o.Spec.Metadata = true, &dynodv1.Metadata{AppId: "app-1"}
			o.Spec.Limits = &dynodv1.Limits{CpuWeight: 1} // the other checks need the CPU more
		})
		return s.play(o, s.said("ready"), s.said("sample#memory_total"), wait(20*time.Second), s.stop(""))
	})
}

// metricLines checks that two lines of that form came, about 20 s apart.
func (l life) metricLines(form *regexp.Regexp) error {
	if l.err != nil {
		return l.err
	}
	var at []time.Time
	for _, line := range l.lines {
		if line.Stream == "platform" && form.MatchString(line.Text) {
			at = append(at, line.Time)
		}
	}
	if len(at) < 2 {
		return fmt.Errorf("%d lines of that form in %q", len(at), rig.Texts(l.lines, "platform"))
	}
	took := at[1].Sub(at[0])
	return unless(took > 15*time.Second && took < 25*time.Second, "they are %s apart", took)
}

func (l life) plausible() error {
	var load, total, rss float64
	for _, text := range texts(l.lines) {
		if m := loadLine.FindStringSubmatch(text); m != nil {
			load, _ = strconv.ParseFloat(m[1], 64)
		}
		if m := usageLine.FindStringSubmatch(text); m != nil {
			total, _ = strconv.ParseFloat(m[1], 64)
			rss, _ = strconv.ParseFloat(m[2], 64)
		}
	}
	return errors.Join(l.err, unless(load > 0.4 && load < 2, "the load is %g", load), unless(rss >= 64 && total >= rss && total < 150, "%g MB are resident of %g", rss, total))
}
