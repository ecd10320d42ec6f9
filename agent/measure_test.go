package agent_test

import (
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dynod/dynod/agent/dyno"
	"github.com/dynod/dynod/runtime"
)

var begun = []string{"Starting process with command `run`", "State changed from starting to up"}

const mib = 1 << 20

func TestMemoryQuotaExceeded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t)
		defer h.leave()
		h.start(order(first, "worker.1"))
		h.start(order(second, "worker.2"))
		h.runtime.Use(first, runtime.Usage{RSS: 500 * mib, Swap: 50 * mib, Cache: 13 * mib}, 0)
		h.runtime.Use(second, runtime.Usage{RSS: 400 * mib, Cache: 112 * mib}, 0)
		time.Sleep(61 * time.Second)
		h.phase(first, dyno.Up)
		over := []string{"Process running mem=563M(110.0%)", "Error R14 (Memory quota exceeded)"}
		h.said(first, slices.Concat(begun, over, over, over)...)
		h.said(second, begun...)
		h.runtime.Use(first, runtime.Usage{RSS: 500 * mib}, 0)
		time.Sleep(61 * time.Second)
		h.said(first, slices.Concat(begun, over, over, over)...)
	})
}

var vastly = []string{
	"Error R15 (Memory quota vastly exceeded)", "Stopping process with SIGKILL", "Process exited with status 137", "State changed from up to crashed",
}

func TestMemoryQuotaVastlyExceeded(t *testing.T) {
	tests := map[string]struct {
		cause func(h *host)
		first string
		oom   bool
	}{
		"seen by a sample": {func(h *host) {
			h.runtime.Use(first, runtime.Usage{RSS: 512 * mib, Swap: 512 * mib, Cache: mib}, 0)
			time.Sleep(21 * time.Second)
		}, "Process running mem=1025M(200.2%)", false},
		"a child was killed": {func(h *host) { h.runtime.RunOut(first, 1024*mib) }, "Process running mem=1024M(200.0%)", false},
		"the command was killed": {func(h *host) {
			h.runtime.Exit(first, runtime.Exit{Code: 137, Signal: 9, OOM: true, Peak: 1024 * mib})
		}, "Process running mem=1024M(200.0%)", true},
		"a shell hides the kill": {func(h *host) {
			h.runtime.Exit(first, runtime.Exit{Code: 3, OOM: true})
		}, "Process running mem=512M(100.0%)", true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newHost(t)
				defer h.leave()
				h.start(order(first, "worker.1"))
				h.phase(first, dyno.Up)
				test.cause(h)
				s := h.phase(first, dyno.Crashed)
				if s.Exit.Error != dyno.R15 || s.Exit.Code != 137 || s.Exit.OOM != test.oom {
					t.Errorf("exit: %+v", s.Exit)
				}
				h.said(first, slices.Concat(begun, []string{test.first}, vastly)...)
			})
		})
	}
}

func TestHostOutOfMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t)
		defer h.leave()
		h.start(order(first, "worker.1"))
		h.phase(first, dyno.Up)
		h.runtime.Exit(first, runtime.Exit{Code: 137, Signal: 9, HostOOM: true})
		s := h.phase(first, dyno.Crashed)
		if s.Exit.Error != dyno.R99 || s.Exit.OOM || s.Exit.Code != 137 || s.Exit.Failure == "" {
			t.Errorf("exit: %+v", s.Exit)
		}
		h.said(first, slices.Concat(begun, []string{
			"Error R99 (Platform error) -> the host ran out of memory", "Process exited with status 137", "State changed from up to crashed",
		})...)
	})
}

// What a dyno was killed for stays the reason when it dies hungry.
func TestKillBeforeWantOfMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t)
		defer h.leave()
		h.start(order(first, "web.1"))
		time.Sleep(59 * time.Second)
		h.runtime.Use(first, runtime.Usage{RSS: 2048 * mib}, 0)
		time.Sleep(2 * time.Second) // R15 at 60 s comes with or after R10
		if s := h.phase(first, dyno.Crashed); s.Exit.Code != 137 || len(h.runtime.Signals(first)) != 0 {
			t.Errorf("exit: %+v", s.Exit)
		}
	})
}

func TestRuntimeMetrics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t)
		defer h.leave()
		o := order(first, "worker.1")
		o.Spec.Metrics = true
		h.start(o)
		h.start(order(second, "worker.2"))
		h.runtime.Use(first, runtime.Usage{RSS: 21 * mib, PagesIn: 5, PagesOut: 4}, 3)
		time.Sleep(21 * time.Second)
		head := "source=worker.1 dyno=heroku.shop." + first
		h.said(first, append(slices.Clone(begun), head+" sample#load_avg_1m=3.00",
			head+" sample#memory_total=21.00MB sample#memory_rss=21.00MB sample#memory_cache=0.00MB sample#memory_swap=0.00MB"+
				" sample#memory_pgpgin=5pages sample#memory_pgpgout=4pages sample#memory_quota=512.00MB")...)
		h.said(second, begun...)
		time.Sleep(15 * time.Minute)
		lines := h.logs.Lines(first)
		if got := lines[len(lines)-2]; !strings.Contains(got, "load_avg_5m=3.00 sample#load_avg_15m=3.00") {
			t.Errorf("got %q", got)
		}
	})
}

// A dyno that awaits its client runs no command, and has nothing to measure.
func TestNoMetricsBeforeTheCommand(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t)
		defer h.leave()
		o := attachedOrder(first)
		o.Spec.Metrics = true
		h.start(o)
		time.Sleep(21 * time.Second)
		h.said(first, awaited...)
	})
}

// The crash policy's state is the record's: the next agent waits for the same moment and goes on counting.
func TestCrashPolicyOutlivesTheAgent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t)
		o := order(first, "worker.1")
		o.Spec.Restart = dyno.Policy{Backoff: true, Delays: []time.Duration{0, time.Hour, 2 * time.Hour}, ResetAfter: 2 * time.Minute}
		h.start(o)
		h.runtime.Exit(first, runtime.Exit{Code: 1})
		h.phase(first, dyno.Up)
		h.runtime.Exit(first, runtime.Exit{Code: 1})
		before := h.phase(first, dyno.Crashed)
		h.leave()
		time.Sleep(30 * time.Minute)
		h.arrive()
		after := h.phase(first, dyno.Crashed)
		if len(after.Crashes) != 2 || !after.NextStart.Equal(before.NextStart) || !before.NextStart.Equal(before.Exit.At.Add(time.Hour)) {
			t.Errorf("before %+v after %+v", before.Record, after.Record)
		}
		time.Sleep(29 * time.Minute)
		h.phase(first, dyno.Crashed)
		time.Sleep(2 * time.Minute)
		h.phase(first, dyno.Up)
		time.Sleep(30 * time.Second)
		h.leave()
		time.Sleep(20 * time.Second)
		h.arrive()
		h.runtime.Exit(first, runtime.Exit{Code: 1})
		if s := h.phase(first, dyno.Crashed); len(s.Crashes) != 3 || !s.NextStart.Equal(s.Exit.At.Add(2*time.Hour)) {
			t.Errorf("after the third crash: %+v", s.Record)
		}
		h.leave()
	})
}

// A reboot takes the secret part of an order: its dyno is ordered anew, not started without its configuration.
func TestCrashPolicyEndsWithTheHost(t *testing.T) {
	for _, phase := range []dyno.Phase{dyno.Up, dyno.Crashed} {
		t.Run(string(phase), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newHost(t)
				o := order(first, "worker.1")
				o.Spec.Restart = dyno.Policy{Backoff: true, Delays: []time.Duration{time.Hour}}
				h.start(o)
				h.phase(first, dyno.Up)
				if phase == dyno.Crashed {
					h.runtime.Exit(first, runtime.Exit{Code: 1})
				}
				h.phase(first, phase)
				h.leave()
				_ = h.runtime.Delete(t.Context(), first)
				if err := os.Remove(h.secrets + "/" + first + ".json"); err != nil {
					t.Fatal(err)
				}
				h.config.BootID = "boot-2"
				h.arrive()
				s := h.phase(first, dyno.Crashed)
				if !s.Ended() || !s.Released || s.Reason != "host reboot" || len(s.Crashes) != 1 {
					t.Errorf("%+v", s.Record)
				}
				time.Sleep(2 * time.Hour)
				if h.runtime.Creates() != 1 {
					t.Error("it was started without its secrets")
				}
				h.leave()
			})
		})
	}
}
