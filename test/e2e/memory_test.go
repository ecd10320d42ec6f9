package e2e_test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	dynodv1 "github.com/dynod/dynod/proto/dynod/v1"
	"github.com/dynod/dynod/test/rig"
)

// quick looks at the dynos' memory so often that a test can wait for it.
const quick = "[host]\nsample_interval = \"200ms\"\n"

func quota(mib int64) func(*dynodv1.StartDynoRequest) {
	return func(o *dynodv1.StartDynoRequest) { o.Spec.Limits = &dynodv1.Limits{MemoryBytes: mib << 20} }
}

var memoryLine = regexp.MustCompile(`^Process running mem=(\d+)M\((\d+\.\d)%\)$`)

// percent is what a line of a dyno's memory says of its quota of 64 MiB; the two numbers must agree.
func percent(t *testing.T, line string) float64 {
	t.Helper()
	m := memoryLine.FindStringSubmatch(line)
	if m == nil {
		t.Fatalf("got %q, want a line of its memory", line)
	}
	size, _ := strconv.ParseFloat(m[1], 64)
	share, _ := strconv.ParseFloat(m[2], 64)
	if low := 100 * size / 64; share < low-0.05 || share > low+100.0/64+0.05 {
		t.Errorf("%q: %g MiB are not %g%% of 64", line, size, share)
	}
	return share
}

// killedForMemory checks the end of a dyno that has had more than its own limit.
func (s *stage) killedForMemory(id string, least, most float64) {
	s.t.Helper()
	d := s.await(id, crashed)
	if e := d.GetExit(); !e.GetOutOfMemory() || e.GetErrorCode() != "R15" || e.GetCode() != 137 || e.GetPlatformFailure() != "" {
		s.t.Errorf("exit: %v", e)
	}
	got := s.output(id, "platform", "to crashed")
	end := slices.Index(got, "Error R15 (Memory quota vastly exceeded)")
	want := []string{"Error R15 (Memory quota vastly exceeded)", "Stopping process with SIGKILL", "Process exited with status 137", "State changed from up to crashed"}
	if end < 1 || !slices.Equal(got[end:], want) {
		s.t.Fatalf("got:\n%s", strings.Join(got, "\n"))
	}
	if share := percent(s.t, got[end-1]); share < least || share > most {
		s.t.Errorf("got %q, want %g%% to %g%%", got[end-1], least, most)
	}
}

// On a host with swap a dyno at 1.1 times its quota is told so at each sample, and lives; one that goes on to twice as
// much is killed; their neighbour notices nothing. The first takes its time: a kernel whose swap is too slow kills.
func TestMemoryOverTheQuotaWithSwap(t *testing.T) {
	s := open(t, quick)
	s.check(s.Lab.Swap(t.Context(), 256))
	s.check(s.StopAgent()) // it looks for swap when it starts
	s.check(s.StartAgent(t.Context()))
	neighbour := s.await(s.start(s.order(1, "worker.1", "./web worker")), up)
	over := s.await(s.start(s.order(2, "worker.2", "./web alloc 66 20ms", quota(64))), up)
	vast := s.start(s.order(3, "worker.3", "./web alloc 256", quota(64)))
	s.killedForMemory(vast, 195, 201)
	s.output(over.GetId(), "stdout", "holding 66 MiB") // swap may be slow

	var lines []string
	err := rig.Await(t.Context(), "five samples over the quota", func() (bool, error) {
		received, err := s.Received(over.GetId())
		lines = nil
		for _, l := range received {
			if l.Stream == "platform" {
				lines = append(lines, l.Text)
			}
		}
		return strings.Count(strings.Join(lines, "\n"), "Error R14") >= 5, err
	})
	if err != nil {
		t.Fatalf("%v, got:\n%s", err, strings.Join(lines, "\n"))
	}
	for i, line := range lines {
		if line != "Error R14 (Memory quota exceeded)" {
			continue
		}
		if share := percent(t, lines[i-1]); share <= 100 || share > 130 {
			t.Errorf("R14 at %g%%", share)
		}
	}
	for _, d := range []*dynodv1.Dyno{neighbour, over} {
		if now := s.get(d.GetId()); now.GetPhase() != up || now.GetPid() != d.GetPid() || now.GetLives() != 1 {
			t.Errorf("%v became %v", d, now)
		}
	}
	if got := s.output(neighbour.GetId(), "platform", "to up"); slices.ContainsFunc(got, memoryLine.MatchString) {
		t.Errorf("the neighbour is told: %q", got)
	}
}

// Without swap the quota is the end, and its neighbour does not notice. (Swap that another test has just given to the
// machine helps up to twice the quota.)
func TestOutOfMemory(t *testing.T) {
	s := open(t, "")
	neighbour := s.start(s.order(1, "worker.1", "./web worker"))
	pid := s.await(neighbour, up).GetPid()
	s.killedForMemory(s.start(s.order(2, "worker.2", "./web alloc 256", quota(64))), 100, 201)
	if now := s.get(neighbour); now.GetPhase() != up || now.GetPid() != pid {
		t.Errorf("the neighbour: %v", now)
	}
}

// A dyno whose child is killed for its quota goes whole, and at once.
func TestOutOfMemoryOfAChild(t *testing.T) {
	s := open(t, "")
	s.killedForMemory(s.start(s.order(1, "worker.1", "./web alloc 256; while :; do sleep 1; done", quota(64))), 100, 201)
}

// A one-off dyno that runs out of memory is complete, with the code and the lines of R15.
func TestOutOfMemoryOfAOneOff(t *testing.T) {
	s := open(t, "")
	dyno := s.start(s.order(1, "run.1", "./web alloc 256", quota(64), oneOff))
	if d := s.await(dyno, complete); d.GetExit().GetCode() != 137 || d.GetExit().GetErrorCode() != "R15" {
		t.Errorf("exit: %v", d.GetExit())
	}
}

// Memory is short on the host, not in the dyno: its limits are far away.
func TestHostOutOfMemory(t *testing.T) {
	s := open(t, "")
	dyno := s.await(s.start(s.order(1, "worker.1", "./web worker")), up)
	for _, file := range s.memoryLimits() {
		s.check(os.WriteFile(file, []byte(strconv.Itoa(80<<20)), 0))
	}
	hungry := s.start(s.order(2, "worker.2", "./web alloc 256"))
	d := s.await(hungry, crashed)
	if e := d.GetExit(); e.GetOutOfMemory() || e.GetErrorCode() != "R99" || e.GetCode() != 137 || !strings.Contains(e.GetPlatformFailure(), "memory") {
		t.Errorf("exit: %v", e)
	}
	got := s.output(hungry, "platform", "to crashed")
	want := []string{"Error R99 (Platform error) -> the host ran out of memory", "Process exited with status 137", "State changed from up to crashed"}
	if len(got) < 3 || !slices.Equal(got[len(got)-3:], want) {
		t.Errorf("got:\n%s", strings.Join(got, "\n"))
	}
	if now := s.get(dyno.GetId()); now.GetPid() != dyno.GetPid() {
		t.Errorf("the neighbour: %v", now)
	}
}

// memoryLimits are the files that bound the memory, and with it the swap, of all dynos of the lab together.
func (s *stage) memoryLimits() []string {
	if _, err := os.Stat("/sys/fs/cgroup/cgroup.controllers"); err == nil {
		dir := filepath.Join("/sys/fs/cgroup", s.Lab.CgroupParent())
		return []string{dir + "/memory.max"}
	}
	dir := filepath.Join("/sys/fs/cgroup/memory", s.Lab.CgroupParent())
	return []string{dir + "/memory.limit_in_bytes", dir + "/memory.memsw.limit_in_bytes"}
}

// A dyno that asks for runtime metrics gets them at each sample, in Heroku's format.
func TestRuntimeMetrics(t *testing.T) {
	s := open(t, quick)
	o := s.order(1, "worker.1", "while :; do :; done", quota(64))
	o.Spec.LogRuntimeMetrics, o.Spec.Metadata = true, &dynodv1.Metadata{AppId: "app-7"}
	dyno := s.start(o)
	s.await(dyno, up)
	head := `source=worker\.1 dyno=heroku\.app-7\.` + id(1)
	load := regexp.MustCompile(`^` + head + ` sample#load_avg_1m=(\d+\.\d\d)$`)
	memory := regexp.MustCompile(`^` + head + ` sample#memory_total=\d+\.\d\dMB sample#memory_rss=\d+\.\d\dMB sample#memory_cache=\d+\.\d\dMB` +
		` sample#memory_swap=0\.00MB sample#memory_pgpgin=\d+pages sample#memory_pgpgout=\d+pages sample#memory_quota=64\.00MB$`)
	s.check(rig.Await(t.Context(), "a busy dyno's metrics", func() (bool, error) {
		received, err := s.Received(dyno)
		var texts []string
		for _, l := range received {
			if l.Stream == "platform" && strings.HasPrefix(l.Text, "source=") {
				texts = append(texts, l.Text)
			}
		}
		if len(texts) < 10 {
			return false, err
		}
		for i, text := range texts {
			if i%2 == 0 && !load.MatchString(text) || i%2 == 1 && !memory.MatchString(text) {
				return false, fmt.Errorf("line %d: %q", i, text)
			}
		}
		average, _ := strconv.ParseFloat(load.FindStringSubmatch(texts[8])[1], 64)
		if average < 0.5 || average > 1.5 {
			return false, fmt.Errorf("one busy shell: %q", texts[8])
		}
		return true, err
	}))
}
