package host_test

import (
	"slices"
	"strings"

	dynodv1 "github.com/dynod/dynod/proto/dynod/v1"
	"github.com/dynod/dynod/test/rig"
)

// services are what must outlive everything.
var services = []string{"dynod", "dynod-capture", "containerd", "dynos"}

func (s *stage) pids() (all []string) {
	for _, unit := range services {
		all = append(all, s.pid(unit))
	}
	return all
}

func quota(mib int64) rig.Change {
	return func(o *dynodv1.StartDynoRequest) { o.Spec.Limits = &dynodv1.Limits{MemoryBytes: mib << 20} }
}

// swapping: on a host with swap a dyno over its quota is told so and lives, and one at twice its quota is killed.
func (s *stage) swapping() {
	s.run("fallocate -l 512M /swap && chmod 600 /swap && mkswap -q /swap && swapon /swap && systemctl restart dynod") // it looks for swap when it starts
	over := s.start(s.order("web", "./web alloc 70 20ms", quota(64)))
	vast := s.start(s.order("web", "./web alloc 256 20ms", quota(64)))
	d := s.await(vast, dynodv1.Phase_PHASE_CRASHED)
	if e := d.GetExit(); !e.GetOutOfMemory() || e.GetErrorCode() != "R15" || e.GetCode() != 137 {
		s.t.Errorf("exit: %v", e)
	}
	s.says(over, "Error R14 (Memory quota exceeded)")
	group := s.run("sed 's/^0:://' /proc/%d/cgroup", s.await(over, dynodv1.Phase_PHASE_UP).GetPid())
	if swapped, most := s.count("cat /sys/fs/cgroup%s/memory.swap.current", group), s.count("cat /sys/fs/cgroup%s/memory.swap.max", group); swapped == 0 || most < 60<<20 || most > 64<<20 {
		s.t.Errorf("%d bytes are in swap, of %d", swapped, most)
	}
	s.stop(over)
	s.await(over, dynodv1.Phase_PHASE_DOWN)
	s.run("swapoff /swap && rm /swap && systemctl restart dynod")
}

// says waits for a line of the platform in a dyno's log.
func (s *stage) says(id, line string) {
	s.t.Helper()
	s.until("0", "dynoctl logs %s 2>/dev/null | grep -qF '%s'; echo $?", id, line)
}

// pressure: where the host itself runs out of memory, a dyno goes and no service does.
func (s *stage) pressure() {
	s.run("mkdir -p /srv/web && tar -xzf /srv/web.tgz -C /srv/web")
	victim := s.start(s.order("web", "./web alloc 300", quota(512)))
	s.says(victim, "holding 300 MiB")
	before := s.pids()
	free := s.count("awk '/MemAvailable/ {print int($2/1024)}' /proc/meminfo")
	s.run("systemd-run -q --unit=hog -p OOMScoreAdjust=-500 /srv/web/app/web alloc %d 5ms", free+150)
	d := s.await(victim, dynodv1.Phase_PHASE_CRASHED)
	if e := d.GetExit(); e.GetErrorCode() != "R99" || e.GetCode() != 137 || !strings.Contains(e.GetPlatformFailure(), "memory") {
		s.t.Errorf("exit: %v", e)
	}
	s.run("systemctl stop hog")
	if after := s.pids(); !slices.Equal(before, after) {
		s.t.Errorf("%v were %v before the host ran out of memory, are %v", services, before, after)
	}
}
