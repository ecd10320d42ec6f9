package host_test

import (
	"fmt"
	"strings"
	"testing"

	dynodv1 "github.com/dynod/dynod/proto/dynod/v1"
	"github.com/dynod/dynod/test/host"
)

func TestHost(t *testing.T) {
	each(t, func(t *testing.T, image host.Image) {
		s := open(t, image, nil)
		for _, p := range []struct {
			name  string
			test  func(*stage)
			brief bool // in every run
		}{
			{"install", (*stage).installed, true},
			{"ready", (*stage).ready, true},
			{"units", (*stage).units, true},
			{"limits", (*stage).limits, true},
			{"exec", (*stage).executes, true},
			{"restart", (*stage).restarts, false},
			{"watchdog", (*stage).watchdog, false},
			{"configuration", (*stage).configuration, true},
			{"pressure", (*stage).pressure, false},
			{"swap", (*stage).swapping, false},
			{"reboot", (*stage).reboots, false},
			{"power", (*stage).powerCuts, false},
		} {
			if *part && !p.brief {
				continue
			}
			passed := t.Run(p.name, func(t *testing.T) {
				s.t = t
				p.test(s)
			})
			if s.t = t; !passed {
				journal(t, s.host)
				s.sweep()
			}
		}
	})
}

// installed: the package starts what belongs to it.
func (s *stage) installed() {
	s.install(older)
	s.until("active", "systemctl is-active dynod")
	for _, unit := range []string{"containerd", "dynod-capture", "dynos", "dynod.socket"} {
		s.until("active", "systemctl is-active %s", unit)
	}
	if got := s.run("systemctl is-enabled dynod dynod-capture dynod.socket"); got != "enabled\nenabled\nenabled" {
		s.t.Errorf("enabled: %q", got)
	}
	if got := s.run("dynod version"); got != "dynod "+older {
		s.t.Errorf("got %q", got)
	}
}

// emulated is how much slower a host may be than an instance, at its worst.
const emulated = 15

// ready: from a containerd that serves to an agent that does it takes 2 s at most.
func (s *stage) ready() {
	s.run("systemctl stop dynod && systemctl stop containerd && systemctl start containerd && systemctl start dynod")
	entered := func(unit, what string) int64 {
		return s.count("systemctl show --value -p %sTimestampMonotonic %s", what, unit)
	}
	containerd := entered("containerd", "ActiveEnter") - entered("containerd", "InactiveExit")
	dynod := entered("dynod", "ActiveEnter") - entered("containerd", "ActiveEnter")
	s.t.Logf("containerd took %d ms, dynod was ready %d ms later", containerd/1000, dynod/1000)
	if dynod > 2_000_000*emulated {
		s.t.Errorf("dynod took %d ms, want at most %d times 2 s", dynod/1000, emulated)
	}
}

// units: the distribution's own systemd finds nothing wrong with them.
func (s *stage) units() {
	r, err := s.host.Try(bounded(s.t, patience), "systemd-analyze verify --man=no dynod.service dynod-capture.service dynos.service dynod.socket dynos.slice")
	check(s.t, err)
	if said := r.Out + r.Err; r.Code != 0 || strings.Contains(said, "dyno") {
		s.t.Errorf("systemd-analyze verify: %d\n%s", r.Code, said)
	}
	for unit, most := range map[string]int{"dynod": 56, "dynod-capture": 20} {
		s.run("systemd-analyze security --no-pager --threshold=%d %s.service", most, unit)
	}
}

// limits: every limit of an order stands in the dyno's cgroup, which is in its place.
func (s *stage) limits() {
	own := &dynodv1.Limits{MemoryBytes: 96 << 20, Pids: 100, OpenFiles: 500, CpuWeight: 150, CpuCeilingMilli: 200}
	id := s.start(s.order("web", "./web worker", func(o *dynodv1.StartDynoRequest) { o.Spec.Limits = own }))
	d := s.await(id, dynodv1.Phase_PHASE_UP)
	group := s.run("sed 's/^0:://' /proc/%d/cgroup", d.GetPid())
	if !strings.HasPrefix(group, "/dynos.slice/dynos.service/") {
		s.t.Errorf("the dyno is in %s", group)
	}
	for file, want := range map[string]string{
		"memory.max": fmt.Sprint(96 << 20), "memory.oom.group": "1", "memory.swap.max": "0", "pids.max": "100", "cpu.weight": "150", "cpu.max": "20000 100000",
	} {
		if got := s.run("cat /sys/fs/cgroup%s/%s", group, file); got != want {
			s.t.Errorf("%s: got %q, want %q", file, got, want)
		}
	}
	if got := s.run("awk '/Max open files/ {print $4, $5}' /proc/%d/limits", d.GetPid()); got != "500 500" {
		s.t.Errorf("open files: got %q", got)
	}
	s.stop(id)
	s.await(id, dynodv1.Phase_PHASE_DOWN)
	s.until("", "ls -d /sys/fs/cgroup%s 2>/dev/null", group)
}

// executes: under the unit's restrictions too, dyno-init falls asleep and the agent knows its assistant.
func (s *stage) executes() {
	id := s.start(s.order("web", "./web worker"))
	d := s.await(id, dynodv1.Phase_PHASE_UP)
	s.until("1", "ls /proc/%d/task | wc -l", d.GetPid())
	if got := s.run("dynoctl exec %s -- echo up", id); got != "up" {
		s.t.Errorf("got %q", got)
	}
	s.stop(id)
	s.await(id, dynodv1.Phase_PHASE_DOWN)
}
