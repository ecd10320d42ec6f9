package e2e_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	dynodv1 "github.com/dynod/dynod/proto/dynod/v1"
	"github.com/dynod/dynod/test/rig"
)

// Fifty kills of the agent beside ten dynos that log a thousand lines a second each: the control plane has every line
// once, and every dyno its first process.
func TestFiftyKillsLoseNothing(t *testing.T) {
	s := open(t, "")
	const dynos = 10
	pids := map[string]uint32{}
	for n := range dynos {
		s.start(s.order(n, fmt.Sprintf("worker.%d", n+1), "./web worker", env("LINES", "1000")))
	}
	for n := range dynos {
		pids[id(n)] = s.await(id(n), up).GetPid()
	}
	for range 50 {
		time.Sleep(time.Duration(rand.IntN(300)) * time.Millisecond)
		s.check(s.KillAgent())
		s.check(s.StartAgent(t.Context()))
	}
	for dyno, pid := range pids {
		if d := s.await(dyno, up); d.GetPid() != pid || d.GetLives() != 1 {
			t.Errorf("%s: process %d, life %d; it was process %d, life 1", dyno, d.GetPid(), d.GetLives(), pid)
		}
	}
	total := 0
	for dyno := range pids {
		s.stop(dyno)
		s.await(dyno, down)
		total += s.sequence(dyno)
	}
	t.Logf("%d lines, each received once", total)
}

// sequence checks that every line of a worker that has ended was received once and in order, and counts them.
func (s *stage) sequence(dyno string) int {
	s.t.Helper()
	lines, err := s.AwaitLine(s.t.Context(), dyno, "end seq=")
	s.check(err)
	n, err := rig.Sequence(lines)
	if err != nil {
		s.t.Errorf("%s: %v", dyno, err)
	}
	return n
}

// The log holder is killed while lines flow.
func TestLogHolderIsKilled(t *testing.T) {
	s := open(t, "")
	dyno := s.start(s.order(1, "worker.1", "./web worker", env("LINES", "1000")))
	s.await(dyno, up)
	for n := range 5 {
		s.killCapture()
		s.output(dyno, "stdout", fmt.Sprintf("seq=%d", 500*(n+1)))
	}
	// Both at once: what the new agent needs is held by the dyno itself.
	s.killCapture()
	s.check(s.KillAgent())
	s.check(s.StartAgent(t.Context()))
	s.stop(dyno)
	s.await(dyno, down)
	s.sequence(dyno)
}

func (s *stage) killCapture() {
	s.t.Helper()
	s.check(rig.Await(s.t.Context(), "a log holder that lives", func() (bool, error) {
		data, err := os.ReadFile(filepath.Join(s.Lab.Run(), "d", "capture.pid"))
		if err != nil {
			return false, err
		}
		pid, err := strconv.Atoi(strings.TrimSpace(string(data)))
		if err != nil {
			return false, err
		}
		cmdline, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		if err != nil || !strings.Contains(string(cmdline), s.Lab.Dir()) {
			return false, nil // the one that was killed last: its follower has not written its number yet
		}
		return true, syscall.Kill(pid, syscall.SIGKILL)
	}))
}

func TestExitWhileTheAgentIsAway(t *testing.T) {
	s := open(t, "")
	dyno := s.start(s.order(1, "worker.1", "./web crash 500ms 9"))
	s.await(dyno, up)
	pid := s.get(dyno).GetPid()
	s.check(s.KillAgent())
	s.check(rig.Await(t.Context(), "the dyno to end", func() (bool, error) {
		_, err := os.Stat(fmt.Sprintf("/proc/%d/exe", pid))
		return err != nil, nil
	}))
	s.check(s.StartAgent(t.Context()))
	if d := s.await(dyno, crashed); d.GetExit().GetCode() != 9 || d.GetLives() != 1 {
		t.Errorf("%v", d)
	}
	if got := s.output(dyno, "stdout", "State changed from up to crashed"); len(got) != 1 {
		t.Errorf("got %q", got)
	}
}

// Agents killed at any moment of a start finish the order, once.
func TestKillsDuringStarts(t *testing.T) {
	s := open(t, "")
	for n := range 20 {
		dyno := s.start(s.order(n, "worker.1", "./web worker", env("LINES", "100")))
		time.Sleep(time.Duration(n*8) * time.Millisecond)
		s.check(s.KillAgent())
		s.check(s.StartAgent(t.Context()))
		if d := s.await(dyno, up, crashed); d.GetPhase() != up || d.GetLives() != 1 {
			t.Errorf("killed %d ms after the order: %v", n*8, d)
		}
		s.output(dyno, "stdout", "seq=1") // before that nobody heeds SIGTERM
		s.stop(dyno)
		s.await(dyno, down)
		s.sequence(dyno)
	}
}

// A stop order is obeyed at any moment of a start.
func TestStopsDuringStarts(t *testing.T) {
	s := open(t, "")
	for n := range 20 {
		dyno := s.start(s.order(n, "worker.1", "./web worker"))
		time.Sleep(time.Duration(n*8) * time.Millisecond)
		begun := time.Now()
		s.stop(dyno)
		s.await(dyno, down)
		within(t, 3*time.Second, fmt.Sprintf("a stop %d ms after the order", n*8), begun)
	}
	s.check(rig.Await(t.Context(), "everything to be gone", func() (bool, error) {
		host, err := s.API().GetHost(t.Context(), &dynodv1.GetHostRequest{})
		return host.GetHost().GetFree().GetDynos() == host.GetHost().GetCapacity().GetDynos(), err
	}))
}

func TestContainerdIsRestarted(t *testing.T) {
	s := open(t, "")
	dyno := s.start(s.order(1, "worker.1", "./web worker", env("LINES", "100")))
	pid := s.await(dyno, up).GetPid()
	s.check(s.Lab.RestartContainerd(t.Context()))
	s.check(rig.Await(t.Context(), "a start after the restart", func() (bool, error) {
		_, err := s.API().StartDyno(t.Context(), s.order(2, "worker.2", "./web worker"))
		return err == nil, nil
	}))
	s.await(id(2), up)
	if d := s.get(dyno); d.GetPhase() != up || d.GetPid() != pid {
		t.Errorf("%v", d)
	}
	s.stop(dyno)
	if d := s.await(dyno, down); d.GetExit().GetPlatformFailure() != "" {
		t.Errorf("exit: %v", d.GetExit())
	}
	s.sequence(dyno)
}

func TestShimIsKilled(t *testing.T) {
	s := open(t, "")
	dyno := s.start(s.order(1, "worker.1", "./web worker"))
	d := s.await(dyno, up)
	begun := time.Now()
	s.check(syscall.Kill(parentOf(t, d.GetPid()), syscall.SIGKILL))
	d = s.await(dyno, crashed)
	within(t, 2*time.Second, "report of a killed shim", begun)
	if d.GetExit().GetPlatformFailure() == "" || d.GetExit().GetErrorCode() != "R99" || d.GetExit().GetCode() != -1 {
		t.Errorf("exit: %v", d.GetExit())
	}
	s.check(rig.Await(t.Context(), "everything of it to be gone", func() (bool, error) {
		host, err := s.API().GetHost(t.Context(), &dynodv1.GetHostRequest{})
		return host.GetHost().GetFree().GetDynos() == host.GetHost().GetCapacity().GetDynos(), err
	}))
}

// What a killed shim leaves behind does not keep the dyno from its next life.
func TestDynoOfAKilledShimStartsAgain(t *testing.T) {
	s := open(t, "")
	dyno := s.start(s.order(1, "worker.1", "./web worker", func(o *dynodv1.StartDynoRequest) {
		o.Spec.RestartPolicy = &dynodv1.RestartPolicy{Kind: dynodv1.RestartPolicy_KIND_BACKOFF}
	}))
	first := s.await(dyno, up)
	s.check(syscall.Kill(parentOf(t, first.GetPid()), syscall.SIGKILL))
	s.check(rig.Await(t.Context(), "a second life", func() (bool, error) {
		d := s.get(dyno)
		return d.GetLives() == 2 && d.GetPhase() == up, nil
	}))
	s.stop(dyno)
	s.await(dyno, down)
}

func parentOf(t *testing.T, pid uint32) int {
	t.Helper()
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Fatal(err)
	}
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	parent, err := strconv.Atoi(fields[1])
	if err != nil {
		t.Fatal(err)
	}
	return parent
}

func TestSecondAgentRefuses(t *testing.T) {
	s := open(t, "")
	_, err := s.Run(t.Context(), s.Lab.Host(), "dynod", "--config", filepath.Join(s.Lab.Dir(), "dynod.toml"))
	if err == nil || !strings.Contains(err.Error(), "another dynod agent runs on this host") {
		t.Errorf("got %v", err)
	}
}
