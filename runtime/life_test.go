package runtime_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"

	"github.com/dynod/dynod/runtime"
)

func TestExitTellsCodeSignalAndTime(t *testing.T) {
	h := newHost(t)
	for _, c := range []struct {
		script       string
		code, signal int
	}{
		{"exit 0", 0, 0},
		{"exit 7", 7, 0},
		{"kill -SEGV $$", 139, 11},
		{"exit 255", 255, 0},
	} {
		d := h.run(h.slug(nil), c.script)
		exit := d.wait()
		if exit.Code != c.code || exit.Signal != c.signal || exit.OOM || time.Since(exit.At).Abs() > testTimeout {
			t.Errorf("%s: %+v", c.script, exit)
		}
		if again := d.wait(); again != exit {
			t.Errorf("%s: second Wait says %+v, the first %+v", c.script, again, exit)
		}
	}
}

func TestSignalReachesEveryProcess(t *testing.T) {
	h := newHost(t)
	d := h.run(h.slug(nil), `
		(trap 'echo child; exit' TERM; echo ready1; while :; do sleep 0.05; done) &
		(trap 'echo other' USR1; trap '' TERM; echo ready2
			while kill -0 $$; do sleep 0.05; done 2>/dev/null; echo alone; while :; do sleep 0.05; done) &
		trap 'echo main; exit 9' TERM; echo ready3
		while :; do sleep 0.05; done`)
	for _, ready := range []string{"ready1", "ready2", "ready3"} {
		d.out.await(h.ctx, t, ready)
	}
	must(t, h.Signal(h.ctx, d.ID, unix.SIGTERM))
	d.out.await(h.ctx, t, "child\n")
	d.out.await(h.ctx, t, "main\n")
	// One process ignores SIGTERM: the dyno stays, though its command has ended, and still takes signals.
	d.out.await(h.ctx, t, "alone\n")
	must(t, h.Signal(h.ctx, d.ID, unix.SIGUSR1))
	d.out.await(h.ctx, t, "other\n")
	must(t, h.Signal(h.ctx, d.ID, unix.SIGKILL))
	if exit := d.wait(); exit.Code != 137 || exit.Signal != 9 {
		t.Errorf("got %+v, want a kill", exit)
	}
	d.out.all(h.ctx, t) // the pipe ends with the last writer
	if err := h.Signal(h.ctx, d.ID, unix.SIGTERM); !errdefs.IsNotFound(err) {
		t.Errorf("signal to an ended dyno: %v", err)
	}
}

func TestStopEndsWithTheCommandsStatus(t *testing.T) {
	h := newHost(t)
	d := h.run(h.slug(nil), `trap 'sleep 0.2; exit 9' TERM; sleep 1000 & echo ready; while :; do wait; done`)
	d.out.await(h.ctx, t, "ready")
	must(t, h.Signal(h.ctx, d.ID, unix.SIGTERM))
	if exit := d.wait(); exit.Code != 9 {
		t.Errorf("got %+v", exit)
	}
}

func TestStopBeforeThePlan(t *testing.T) {
	h := newHost(t)
	d := h.created(h.slug(nil))
	must(t, h.Start(h.ctx, d.ID))
	d.comesToTheDoor()
	must(t, h.Signal(h.ctx, d.ID, unix.SIGTERM))
	if exit := d.wait(); exit.Code != 143 || exit.Signal != 15 {
		t.Errorf("got %+v", exit)
	}
	if err := d.launch("true"); !errdefs.IsNotFound(err) {
		t.Errorf("launch after the end: %v", err)
	}
}

// comesToTheDoor returns when dyno-init, which waits for its plan, has answered once: it takes signals then.
func (d *dyno) comesToTheDoor() {
	d.t.Helper()
	_, err := d.Exec(d.ctx, d.ID, runtime.Plan{Args: []string{"true"}, Dir: "/"})
	if !errdefs.IsFailedPrecondition(err) {
		d.t.Fatalf("exec in a dyno without plan: %v", err)
	}
}

func TestOrphansAreReaped(t *testing.T) {
	h := newHost(t)
	d := h.run(h.slug(nil), `
		for i in 1 2 3 4 5 6 7 8; do (sleep 0.05 & ) ; done; sleep 0.5
		grep -l 'State:.Z' /proc/[0-9]*/status | wc -l; (sleep 1000 &); exit 4`)
	if exit := d.wait(); exit.Code != 4 { // though something is left: the command decides
		t.Errorf("got %+v", exit)
	}
	if got := strings.TrimSpace(d.out.all(h.ctx, t)); got != "0" {
		t.Errorf("%s zombies", got)
	}
}

func TestVerbsMayBeRepeated(t *testing.T) {
	h := newHost(t)
	a := h.slug(nil)
	d := h.created(a)
	before, err := h.PID(h.ctx, d.ID)
	must(t, err)
	must(t, h.Create(h.ctx, d.Container))
	must(t, h.Start(h.ctx, d.ID))
	must(t, h.Start(h.ctx, d.ID))
	must(t, h.Create(h.ctx, d.Container))
	must(t, d.launch("sh", "-c", "echo once; sleep 1000"))
	first := d.out
	must(t, d.launch("sh", "-c", "echo twice"))
	first.await(h.ctx, t, "once\n")
	if after, err := h.PID(h.ctx, d.ID); err != nil || after != before {
		t.Errorf("the dyno's process was %d and is %d (%v)", before, after, err)
	}
	must(t, h.Delete(h.ctx, d.ID))
	must(t, h.Delete(h.ctx, d.ID))
	if got := d.out.all(h.ctx, t) + first.all(h.ctx, t); got != "once\n" {
		t.Errorf("output %q", got)
	}
	if _, err := h.Wait(h.ctx, d.ID); !errdefs.IsNotFound(err) {
		t.Errorf("wait for a deleted dyno: %v", err)
	}
}

// TestWaitingInitIsQuick measures what a sandbox made ahead is for: it sleeps, and a knock wakes it.
func TestWaitingInitIsQuick(t *testing.T) {
	h := newHost(t)
	d := h.created(h.slug(nil))
	must(t, h.Start(h.ctx, d.ID))
	d.comesToTheDoor()
	began := time.Now()
	must(t, d.launch("sleep", "1000"))
	if took := time.Since(began); took > 10*time.Second { // unasked, dyno-init looks after 30 s
		t.Errorf("launch of a waiting dyno took %s", took)
	}
}

// TestAgentRestartsAnywhere runs a dyno with another Runtime after every step, and one attempt cut off in the middle.
func TestAgentRestartsAnywhere(t *testing.T) {
	h := newHost(t)
	a := h.slug(nil)
	_, err := h.Prepare(h.ctx, a)
	must(t, err)
	h.restart()
	d := h.container(a)
	must(t, h.Create(h.ctx, d.Container))
	h.restart()
	must(t, h.Create(h.ctx, d.Container))
	h.restart()
	must(t, h.Start(h.ctx, d.ID))
	h.restart()
	cut, cancel := context.WithCancel(h.ctx)
	cancel()
	if _, err := h.Launch(cut, d.ID, runtime.Plan{Args: []string{"true"}, Dir: "/"}); err == nil {
		t.Error("launch with an ended context succeeded")
	}
	h.restart()
	must(t, d.launch("sh", "-c", "echo up; read x; sleep 1000"))
	d.out.await(h.ctx, t, "up\n")
	h.restart()
	must(t, d.launchPlan(runtime.Plan{Args: []string{"false"}, Dir: "/nowhere"})) // nil: it has one
	found, err := h.List(h.ctx)
	must(t, err)
	pid, err := h.PID(h.ctx, d.ID)
	must(t, err)
	if len(found) != 1 || found[0] != (runtime.Found{ID: d.ID, Slot: d.Slot, State: runtime.StateRunning, PID: pid}) {
		t.Errorf("found %+v", found)
	}
	h.restart()
	must(t, h.Signal(h.ctx, d.ID, unix.SIGKILL))
	h.restart()
	if exit := d.wait(); exit.Code != 137 {
		t.Errorf("got %+v", exit)
	}
	h.restart()
	must(t, h.Delete(h.ctx, d.ID))
}

func TestLaunchOfWhatCannotRun(t *testing.T) {
	h := newHost(t)
	for _, c := range []struct {
		plan   runtime.Plan
		reason string
		code   int
	}{
		{runtime.Plan{Args: []string{"no-such-program"}, Dir: "/app"}, "no-such-program: no such file", 127},
		{runtime.Plan{Args: []string{"/app/hello"}, Dir: "/app"}, "permission denied", 126},
		{runtime.Plan{Args: []string{"true"}, Dir: "/no/such/dir"}, "working directory /no/such/dir", 127},
		{runtime.Plan{Args: []string{"true", strings.Repeat("x", 200_000)}, Dir: "/"}, "argument list too long", 126},
	} {
		d := h.created(h.slug(nil))
		must(t, h.Start(h.ctx, d.ID))
		failed, ok := errors.AsType[*runtime.LaunchError](d.launchPlan(c.plan))
		if !ok || !strings.Contains(failed.Reason, c.reason) {
			t.Errorf("launch of %.30s: %v, want a reason with %q", c.plan.Args, failed, c.reason)
			continue
		}
		if exit := d.wait(); exit.Code != c.code {
			t.Errorf("launch of %.30s: %+v, want code %d", c.plan.Args, exit, c.code)
		}
		d.out.all(h.ctx, t)
	}
}

func TestPlansThatAreRefused(t *testing.T) {
	h := newHost(t)
	d := h.created(h.slug(nil))
	must(t, h.Start(h.ctx, d.ID))
	for name, plan := range map[string]runtime.Plan{
		"no command":         {Dir: "/"},
		"NUL":                {Args: []string{"a\x00b"}, Dir: "/"},
		"relative directory": {Args: []string{"true"}, Dir: "app"},
		"too large":          {Args: []string{"true"}, Dir: "/", Env: []string{strings.Repeat("x", 9<<20)}},
	} {
		if err := d.launchPlan(plan); !errdefs.IsInvalidArgument(err) {
			t.Errorf("%s: %v", name, err)
		}
	}
	must(t, d.launch("true")) // none of them was used up
}

func TestPipesAreTakenBack(t *testing.T) {
	h := newHost(t)
	d := h.created(h.slug(nil))
	must(t, h.Start(h.ctx, d.ID))
	if _, err := h.Kept(h.ctx, d.ID); !errdefs.IsNotFound(err) {
		t.Errorf("pipes before a plan: %v", err)
	}
	outR, outW, err := os.Pipe()
	must(t, err)
	errR, errW, err := os.Pipe()
	must(t, err)
	_, err = h.Launch(h.ctx, d.ID, runtime.Plan{
		Args: []string{"sh", "-c", "echo kept; echo also >&2; sleep 1000"}, Env: []string{"PATH=/bin"}, Dir: "/",
		Stdout: outW, Stderr: errW, Keep: []*os.File{outR, errR, outR, errR},
	})
	must(t, err)
	for _, f := range []*os.File{outR, outW, errR, errW} {
		must(t, f.Close()) // whoever held the pipes on the host is gone
	}
	h.restart()
	kept, err := h.Kept(h.ctx, d.ID)
	must(t, err)
	for _, f := range kept {
		defer f.Close()
	}
	if len(kept) != 4 {
		t.Fatalf("%d files are kept", len(kept))
	}
	stdout, stderr := kept[0], kept[3]
	buffer := make([]byte, 16)
	n, err := stdout.Read(buffer)
	if err != nil || string(buffer[:n]) != "kept\n" {
		t.Errorf("stdout: %q, %v", buffer[:n], err)
	}
	n, err = stderr.Read(buffer)
	if err != nil || string(buffer[:n]) != "also\n" {
		t.Errorf("stderr: %q, %v", buffer[:n], err)
	}
	must(t, h.Signal(h.ctx, d.ID, unix.SIGKILL))
	if n, err := stdout.Read(buffer); n != 0 || err == nil {
		t.Errorf("after the end: %q, %v", buffer[:n], err)
	}
}

func TestStrangersGetNoPlan(t *testing.T) {
	h := newHost(t)
	d := h.created(h.slug(nil))
	must(t, h.Start(h.ctx, d.ID))
	for _, id := range []string{"", "../etc", strings.ToUpper(d.ID), d.ID + "/x"} {
		if _, err := h.Launch(h.ctx, id, runtime.Plan{}); !errdefs.IsInvalidArgument(err) {
			t.Errorf("id %q: %v", id, err)
		}
	}
	socket := filepath.Join(h.config.RunDir, d.ID, "launch", "launch.sock")
	freeze(t, h, d)
	launched := make(chan error, 1)
	go func() { launched <- d.launch("sleep", "1000") }()
	eventually(h.ctx, t, "the socket is there", func() bool { _, err := os.Stat(socket); return err == nil })
	if heard := askAs(t, socket); heard != "" {
		t.Errorf("a stranger was told %q", heard)
	}
	thaw(t, h, d)
	must(t, <-launched)
	if _, err := os.Stat(socket); !os.IsNotExist(err) {
		t.Errorf("the socket outlives the launch: %v", err)
	}
}
