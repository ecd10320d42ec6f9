package dyno_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dynod/dynod/agent/dyno"
)

const mib = 1 << 20

func TestExceeded(t *testing.T) {
	limits := dyno.Limits{Memory: 512 * mib, R15Percent: 200}
	tests := map[string]struct {
		memory dyno.Memory
		limits dyno.Limits
		want   dyno.ErrorCode
	}{
		"nothing":                   {dyno.Memory{}, limits, ""},
		"the quota itself":          {dyno.Memory{RSS: 500 * mib, Swap: 2 * mib, Cache: 10 * mib}, limits, ""},
		"a byte more":               {dyno.Memory{RSS: 500 * mib, Swap: 2 * mib, Cache: 10*mib + 1}, limits, dyno.R14},
		"cache does not end it":     {dyno.Memory{RSS: 512 * mib, Swap: 400 * mib, Cache: 500 * mib}, limits, dyno.R14},
		"a byte below twice":        {dyno.Memory{RSS: 512 * mib, Swap: 512*mib - 1}, limits, dyno.R14},
		"twice":                     {dyno.Memory{RSS: 512 * mib, Swap: 512 * mib}, limits, dyno.R15},
		"own point":                 {dyno.Memory{RSS: 512 * mib, Swap: 512 * mib}, dyno.Limits{Memory: 512 * mib, R15Percent: 201}, dyno.R14},
		"a record of before points": {dyno.Memory{RSS: 5120 * mib}, dyno.Limits{Memory: 512 * mib}, dyno.R14},
		"the largest size":          {dyno.Memory{RSS: 2 << 44}, dyno.Limits{Memory: 1 << 44, R15Percent: 1000}, dyno.R14},
	}
	for name, test := range tests {
		if got := test.limits.Exceeded(test.memory); got != test.want {
			t.Errorf("%s: got %q, want %q", name, got, test.want)
		}
	}
}

func TestLineMemory(t *testing.T) {
	for want, total := range map[string]int64{
		"Process running mem=628M(122.7%)":  658505728, // 628 MiB, as Heroku shows its example
		"Process running mem=512M(100.0%)":  512*mib + 1,
		"Process running mem=512M(100.2%)":  513*mib - 1, // truncated, and the share from the whole
		"Process running mem=1024M(200.0%)": 1024 * mib,
	} {
		if got := dyno.LineMemory(total, 512*mib); got != want {
			t.Errorf("%d bytes: got %q, want %q", total, got, want)
		}
	}
}

func TestExitForWantOfMemory(t *testing.T) {
	limits := dyno.Limits{Memory: 512 * mib}
	own := dyno.Exit{Code: 1, At: noon}.OutOfMemory(600 * mib)
	if own.Code != 137 || own.Signal != 9 || !own.OOM || own.Error != dyno.R15 || own.Failure != "" {
		t.Errorf("own: %+v", own)
	}
	host := dyno.Exit{Code: 137, Signal: 9, At: noon}.HostOutOfMemory()
	if host.OOM || host.Error != dyno.R99 || host.Failure == "" {
		t.Errorf("host: %+v", host)
	}
	up, oneOff := dyno.Record{Phase: dyno.Up, Spec: dyno.Spec{Limits: limits}}, dyno.Record{Phase: dyno.Up, Spec: dyno.Spec{Limits: limits, OneOff: true}}
	killed := up
	killed.Killed, killed.KilledFor = noon, dyno.R15
	r15 := []string{"Process running mem=600M(117.2%)", "Error R15 (Memory quota vastly exceeded)", "Stopping process with SIGKILL"}
	tests := map[string]struct {
		record dyno.Record
		exit   dyno.Exit
		lines  []string
		phase  dyno.Phase
	}{
		"own":               {up, own, r15, dyno.Crashed},
		"peak unknown":      {up, dyno.Exit{At: noon}.OutOfMemory(0), append([]string{"Process running mem=512M(100.0%)"}, r15[1:]...), dyno.Crashed},
		"told when killed":  {killed, own, nil, dyno.Crashed},
		"own of a one-off":  {oneOff, own, r15, dyno.Complete},
		"host":              {up, host, []string{"Error R99 (Platform error) -> the host ran out of memory"}, dyno.Crashed},
		"host of a one-off": {oneOff, host, []string{"Error R99 (Platform error) -> the host ran out of memory"}, dyno.Crashed},
		"something else":    {up, dyno.Exit{Code: 137, Signal: 9, At: noon}, nil, dyno.Crashed},
	}
	for name, test := range tests {
		if diff := cmp.Diff(test.lines, test.record.LastLines(test.exit)); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
		if got, err := test.record.Exited(test.exit); err != nil || got.Phase != test.phase {
			t.Errorf("%s: %s %v", name, got.Phase, err)
		}
	}
}

func TestLinesMetrics(t *testing.T) {
	r := dyno.Record{ID: "id-1", Started: noon, Spec: dyno.Spec{App: "shop", Name: "web.1", Limits: dyno.Limits{Memory: 512 * mib}}}
	m := dyno.Memory{RSS: 21*mib + 230687, Swap: 3 * mib / 2, Cache: 7, PagesIn: 348836, PagesOut: 343403}
	load := dyno.NewLoad(noon).Count(2, noon.Add(5*time.Second))
	memory := "source=web.1 dyno=heroku.shop.id-1 sample#memory_total=22.72MB sample#memory_rss=21.22MB sample#memory_cache=0.00MB" +
		" sample#memory_swap=1.50MB sample#memory_pgpgin=348836pages sample#memory_pgpgout=343403pages sample#memory_quota=512.00MB"
	for age, want := range map[time.Duration]string{
		0:                           " sample#load_avg_1m=2.00",
		5*time.Minute - time.Second: " sample#load_avg_1m=2.00",
		5 * time.Minute:             " sample#load_avg_1m=2.00 sample#load_avg_5m=2.00",
		15 * time.Minute:            " sample#load_avg_1m=2.00 sample#load_avg_5m=2.00 sample#load_avg_15m=2.00",
	} {
		want := []string{"source=web.1 dyno=heroku.shop.id-1" + want, memory}
		if diff := cmp.Diff(want, r.LinesMetrics(m, load, noon.Add(age))); diff != "" {
			t.Errorf("after %s: %s", age, diff)
		}
	}
	r.Spec.Metadata.AppID = "app-1"
	for _, line := range r.LinesMetrics(m, dyno.NewLoad(noon), noon) {
		if !strings.HasPrefix(line, "source=web.1 dyno=heroku.app-1.id-1 sample#") || strings.Contains(line, "NaN") {
			t.Errorf("got %q", line)
		}
	}
}

// The averages go where the kernel's would: a minute after the change the 1 minute one is at 1 - 1/e of it.
func TestLoad(t *testing.T) {
	r := dyno.Record{Started: noon, Spec: dyno.Spec{Limits: dyno.Limits{Memory: mib}}}
	at := noon
	load := dyno.NewLoad(at)
	count := func(running int, span time.Duration) string {
		for end := at.Add(span); at.Before(end); {
			at = at.Add(5 * time.Second)
			load = load.Count(running, at)
		}
		_, loads, _ := strings.Cut(r.LinesMetrics(dyno.Memory{}, load, at)[0], " sample#")
		return loads
	}
	for _, step := range []struct {
		running int
		span    time.Duration
		want    string
	}{
		{0, time.Hour, "load_avg_1m=0.00 sample#load_avg_5m=0.00 sample#load_avg_15m=0.00"},
		{10, time.Minute, "load_avg_1m=6.32 sample#load_avg_5m=1.81 sample#load_avg_15m=0.66"},
		{10, time.Hour, "load_avg_1m=10.00 sample#load_avg_5m=10.00 sample#load_avg_15m=9.83"},
		{0, 5 * time.Minute, "load_avg_1m=0.07 sample#load_avg_5m=3.68 sample#load_avg_15m=7.04"},
	} {
		if got := count(step.running, step.span); got != step.want {
			t.Errorf("%d for %s: got %s, want %s", step.running, step.span, got, step.want)
		}
	}
}
