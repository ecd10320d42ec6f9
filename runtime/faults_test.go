package runtime_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"

	"github.com/dynod/dynod/runtime"
)

type result struct {
	exit runtime.Exit
	err  error
}

func (d *dyno) waiting() chan result {
	results := make(chan result, 1)
	go func() {
		exit, err := d.Wait(d.ctx, d.ID)
		results <- result{exit, err}
	}()
	return results
}

func TestContainerdIsKilledWhileADynoRuns(t *testing.T) {
	h := newHost(t)
	d := h.run(h.slug(nil), "echo up; trap 'exit 5' TERM; while :; do sleep 0.05; done")
	d.out.await(h.ctx, t, "up")
	results := d.waiting()
	must(t, h.lab.RestartContainerd(h.ctx))
	eventually(h.ctx, t, "containerd answers again", func() bool { return h.Ping(h.ctx) == nil })
	select {
	case r := <-results:
		t.Fatalf("a dyno that runs was said to have ended: %+v", r)
	default:
	}
	must(t, unix.Kill(h.lab.ContainerdPID(), unix.SIGSTOP))
	// The kernel takes a moment to stop all of its threads.
	eventually(h.ctx, t, "a containerd that hangs is silent", func() bool { return h.Ping(h.ctx) != nil })
	must(t, h.Signal(h.ctx, d.ID, unix.SIGTERM)) // needs no containerd
	d.out.all(h.ctx, t)
	must(t, unix.Kill(h.lab.ContainerdPID(), unix.SIGCONT))
	if r := <-results; r.err != nil || r.exit.Code != 5 {
		t.Errorf("got %+v", r)
	}
}

func TestExitWhileContainerdIsAway(t *testing.T) {
	h := newHost(t)
	d := h.run(h.slug(nil), "echo up; while test ! -e /tmp/go; do sleep 0.02; done; exit 6")
	d.out.await(h.ctx, t, "up")
	results, ends := d.waiting(), d.file("tmp/go")
	must(t, unix.Kill(h.lab.ContainerdPID(), unix.SIGKILL))
	short, cancel := context.WithTimeout(h.ctx, 100*time.Millisecond)
	defer cancel()
	if err := h.Start(short, d.ID); err == nil {
		t.Error("start succeeded without containerd")
	}
	must(t, os.WriteFile(ends, nil, 0o644))
	d.out.all(h.ctx, t)
	must(t, h.lab.RestartContainerd(h.ctx))
	if r := <-results; r.err != nil || r.exit.Code != 6 {
		t.Errorf("got %+v", r)
	}
}

func TestShimIsKilled(t *testing.T) {
	h := newHost(t)
	d := h.run(h.slug(nil), "echo up; sleep 1000")
	d.out.await(h.ctx, t, "up")
	pid, err := h.PID(h.ctx, d.ID)
	must(t, err)
	results := d.waiting()
	killed := time.Now()
	must(t, unix.Kill(parent(t, pid), unix.SIGKILL))
	r := <-results
	if !errdefs.IsNotFound(r.err) {
		t.Errorf("got %+v, want NotFound: nobody knows how it ended", r)
	}
	if took := time.Since(killed); took > 2*time.Second {
		t.Errorf("told after %s", took)
	}
	must(t, h.Delete(h.ctx, d.ID))
	eventually(h.ctx, t, "the dyno is gone", func() bool { return !alive(pid) })
}

// A shim that hangs can neither kill nor reap: the cgroup is killed without it.
func TestHungShimKeepsNothingRunning(t *testing.T) {
	h := newHost(t)
	d := h.run(h.slug(nil), "trap '' TERM; sleep 1000 & echo up; wait")
	d.out.await(h.ctx, t, "up")
	pid, err := h.PID(h.ctx, d.ID)
	must(t, err)
	shim := parent(t, pid)
	must(t, unix.Kill(shim, unix.SIGSTOP))
	defer unix.Kill(shim, unix.SIGCONT) //nolint:errcheck // or the lab cannot end it
	ctx, cancel := context.WithTimeout(h.ctx, 3*time.Second)
	defer cancel()
	if err := h.Delete(ctx, d.ID); !errors.Is(err, context.DeadlineExceeded) && !errdefs.IsUnavailable(err) {
		t.Errorf("deleted a dyno whose shim hangs: %v", err)
	}
	if state := stat(t, pid)[0]; state != "Z" {
		t.Errorf("its first process is in state %s", state)
	}
	must(t, unix.Kill(shim, unix.SIGCONT))
	must(t, h.Delete(h.ctx, d.ID))
}

func parent(t *testing.T, pid int) int {
	t.Helper()
	ppid, err := strconv.Atoi(stat(t, pid)[1])
	must(t, err)
	return ppid
}

// stat is what the kernel tells of a process after its name: state, parent and so on.
func stat(t *testing.T, pid int) []string {
	t.Helper()
	stat, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	must(t, err)
	_, after, _ := strings.Cut(string(stat), ") ")
	return strings.Fields(after)
}

// TestRemainsAreClearedAway builds what a Create leaves that was killed before it had a container.
func TestRemainsAreClearedAway(t *testing.T) {
	h := newHost(t)
	d := h.created(h.slug(nil))
	must(t, h.Delete(h.ctx, d.ID))
	run, disk := filepath.Join(h.config.RunDir, d.ID), filepath.Join(h.config.Dir, "dynos", d.ID)
	for _, dir := range []string{filepath.Join(run, "layers", "0"), filepath.Join(disk, "upper", "old")} {
		must(t, os.MkdirAll(dir, 0o755))
	}
	must(t, unix.Mount("left", filepath.Join(run, "layers", "0"), "tmpfs", 0, ""))
	found, err := h.List(h.ctx)
	must(t, err)
	if len(found) != 1 || found[0] != (runtime.Found{ID: d.ID, Slot: -1, State: runtime.StateNone}) {
		t.Errorf("found %+v", found)
	}
	must(t, h.Create(h.ctx, d.Container))
	if _, err := os.Stat(filepath.Join(disk, "upper", "old")); !os.IsNotExist(err) {
		t.Errorf("old files are in the new dyno: %v", err)
	}
}

func TestCreateWithoutArtifactLeavesNothing(t *testing.T) {
	h := newHost(t)
	d := h.container(runtime.Artifact{Slug: &runtime.Slug{SHA256: strings.Repeat("0", 64), Stack: "small"}})
	if err := h.Create(h.ctx, d.Container); !errdefs.IsNotFound(err) {
		t.Errorf("got %v", err)
	}
	found, err := h.List(h.ctx)
	must(t, err)
	if len(found) != 0 {
		t.Errorf("left %+v", found)
	}
}

func TestCyclesLeaveNothing(t *testing.T) {
	h := newHost(t)
	a := h.slug(nil)
	first := h.run(a, "true")
	must(t, h.Delete(h.ctx, first.ID))
	before, err := h.lab.Snapshot(h.ctx)
	must(t, err)
	descriptors := openFiles(t)
	for i := range 100 {
		h.slots-- // the slot of the one before
		d := h.run(a, "touch x; exit 1")
		if i%2 == 0 {
			d.wait()
		}
		must(t, h.Delete(h.ctx, d.ID))
		d.out.all(h.ctx, t)
	}
	leaks, err := h.lab.Leaks(h.ctx, before)
	must(t, err)
	for _, leak := range leaks {
		t.Errorf("left: %s", leak)
	}
	for _, dir := range []string{h.config.RunDir, filepath.Join(h.config.Dir, "dynos")} {
		if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
			t.Errorf("left in %s: %v (%v)", dir, left, err)
		}
	}
	if now := openFiles(t); now > descriptors+200+5 { // each cycle's test pipes are closed at the end of the test
		t.Errorf("%d descriptors, %d before", now, descriptors)
	}
}

func openFiles(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	must(t, err)
	return len(entries)
}
