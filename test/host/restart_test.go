package host_test

import (
	"time"

	dynodv1 "github.com/dynod/dynod/proto/dynod/v1"
)

// many dynos talk while services restart under them.
const many = 20

// restarts: nothing that an operator does to the services or the package touches a dyno, and no byte of output goes astray.
func (s *stage) restarts() {
	all := s.speak(many)
	for _, unit := range []string{"dynod", "dynod-capture", "containerd"} {
		before := s.pid(unit)
		s.run("systemctl restart %s", unit)
		if s.pid(unit) == before {
			s.t.Errorf("%s was not restarted", unit)
		}
		s.live(all, "restart of "+unit)
	}
	for _, version := range []string{newer, older} {
		before := s.pid("dynod")
		s.install(version)
		s.until("active", "systemctl is-active dynod")
		if got := s.run("dynod version"); got != "dynod "+version || s.pid("dynod") == before {
			s.t.Errorf("%q runs as process %s after %s, want %s", got, s.pid("dynod"), before, version)
		}
		s.live(all, "change to "+version)
	}
	s.silence(all)
}

func (s *stage) pid(unit string) string {
	s.t.Helper()
	return s.run("systemctl show --value -p MainPID %s", unit)
}

func (s *stage) restarted(unit string) int64 {
	s.t.Helper()
	return s.count("systemctl show --value -p NRestarts %s", unit)
}

// watch is the unit's WatchdogSec.
const watch = time.Minute

// watchdog: an agent that hangs is replaced. One that waits for a containerd that hangs is not.
func (s *stage) watchdog() {
	all := s.speak(1)
	before, count := s.pid("dynod"), s.restarted("dynod")
	s.run("kill -STOP %s", before)
	s.until("0", "[ $(systemctl show --value -p NRestarts dynod) -gt %d ] && systemctl -q is-active dynod; echo $?", count)
	if s.pid("dynod") == before {
		s.t.Error("the frozen agent goes on")
	}
	s.live(all, "a frozen agent")

	agent, count := s.pid("dynod"), s.restarted("dynod")
	containerd := s.pid("containerd")
	s.run("kill -STOP %s", containerd)
	time.Sleep(watch * 5 / 4) // nothing happens in this time: there is nothing to wait for
	if got := s.pid("dynod"); got != agent || s.restarted("dynod") != count {
		s.t.Errorf("agent %s became %s while containerd was frozen", agent, got)
	}
	s.run("kill -CONT %s", containerd)
	s.live(all, "a frozen containerd")
	s.silence(all)
}

// configuration: a bad one ends the agent for good and is told to whoever reloads, and costs a running agent nothing.
func (s *stage) configuration() {
	const bad = "/etc/dynod/conf.d/60-bad.toml"
	s.write(bad, []byte("hots_name = 1\n"))
	before := s.pid("dynod")
	if r, err := s.host.Try(bounded(s.t, patience), "systemctl reload dynod"); err != nil || r.Code == 0 {
		s.t.Errorf("reload of a bad configuration: %+v, %v", r, err)
	}
	if got := s.pid("dynod"); got != before {
		s.t.Errorf("agent %s became %s", before, got)
	}
	_, err := s.host.Try(bounded(s.t, patience), "systemctl restart dynod")
	check(s.t, err)
	s.until("failed", "systemctl is-active dynod")
	count := s.restarted("dynod")
	if got := s.run("systemctl show --value -p ExecMainStatus dynod"); got != "78" {
		s.t.Errorf("exit status %s, want 78", got)
	}
	time.Sleep(10 * time.Second) // RestartSec is 1 s
	if got := s.run("systemctl is-active dynod || true"); got != "failed" || s.restarted("dynod") != count {
		s.t.Errorf("the agent is %s after a bad configuration, restarted %d times", got, s.restarted("dynod")-count)
	}
	s.run("rm %s && systemctl start dynod", bad)

	before = s.pid("dynod")
	s.write("/etc/dynod/conf.d/70-level.toml", []byte("[log]\nlevel = \"debug\"\n"))
	s.run("systemctl reload dynod")
	s.until("0", "dynoctl ps >/dev/null; journalctl -q -u dynod _PID=%s -p debug..debug --no-pager | grep -q .; echo $?", before)
	if got := s.pid("dynod"); got != before {
		s.t.Errorf("agent %s became %s by a reload", before, got)
	}
	s.run("rm /etc/dynod/conf.d/70-level.toml && systemctl reload dynod")
}

// reboots: what lived is reported lost and why, with its last words, nothing of it is left, and the host takes orders again.
func (s *stage) reboots() {
	all := s.speak(2)
	worker := s.start(s.order("web", "./web worker"))
	s.await(worker, dynodv1.Phase_PHASE_UP)
	check(s.t, s.host.Reboot(bounded(s.t, boot)))
	s.until("active", "systemctl is-active dynod")
	for _, one := range all {
		d := s.await(one.id, dynodv1.Phase_PHASE_CRASHED)
		if e := d.GetExit(); d.GetReason() != "host reboot" || e.GetPlatformFailure() != "host reboot" || e.GetCode() != -1 {
			s.t.Errorf("got %v, want it lost by a host reboot", d)
		}
	}
	s.says(worker, "end seq=")
	s.clean()
	again := s.speak(1)
	s.silence(again)
}

// clean checks that no dyno has left anything on the host but its record and its output.
func (s *stage) clean() {
	s.t.Helper()
	for _, left := range []string{"ls /sys/fs/cgroup/dynos.slice/dynos.service", "ctr -n dynod tasks ls -q", "ctr -n dynod containers ls -q", "findmnt -rn", "ls /run/netns /run/dynod"} {
		s.until("", "%s 2>/dev/null | grep %s", left, ours)
	}
}
