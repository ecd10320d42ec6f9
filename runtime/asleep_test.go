package runtime_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dynod/dynod/runtime"
	"github.com/dynod/dynod/test/lab"
)

// sleeps says whether a dyno's dyno-init has fallen asleep: it has two arguments then.
func (d *dyno) sleeps() bool {
	d.t.Helper()
	pid, err := d.PID(d.ctx, d.ID)
	must(d.t, err)
	text, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "cmdline"))
	must(d.t, err)
	return strings.Count(string(text), "\x00") == 3
}

// asleep is a dyno whose dyno-init sleeps, and which has said that it is up.
func (h *host) asleep(script string) *dyno {
	h.t.Helper()
	d := h.run(h.slug(nil), script)
	d.out.await(h.ctx, h.t, "up\n")
	eventually(h.ctx, h.t, "dyno-init sleeps", d.sleeps)
	return d
}

func TestSleepingInitEndsAsItsCommandDoes(t *testing.T) {
	h := newHost(t)
	dynos := map[*dyno]int{}
	for script, want := range map[string]int{
		"exit 0": 0, "exit 7": 7, "exit 255": 255, "kill -SEGV $$": 139,
		"sleep 1000 & exit 3":                     3,
		"(sleep 0.1 & exit 9); sleep 0.3; exit 4": 4, // an orphan ends first
	} {
		dynos[h.run(h.slug(nil), "mkfifo /tmp/go; echo up; read x </tmp/go; "+script)] = want
	}
	for d, want := range dynos {
		eventually(h.ctx, t, "dyno-init sleeps", d.sleeps)
		must(t, os.WriteFile(d.file("tmp/go"), []byte("\n"), 0))
		if exit := d.wait(); exit.Code != want {
			t.Errorf("got %+v, want %d", exit, want)
		}
	}
}

func TestSleepingInitWaitsForAllAfterTheStop(t *testing.T) {
	h := newHost(t)
	d := h.asleep(`trap 'exit 5' TERM; sh -c 'trap "sleep 0.5; echo last; exit" TERM; echo up; while :; do sleep 0.01; done' & wait`)
	must(t, h.Signal(h.ctx, d.ID, unix.SIGTERM))
	if exit := d.wait(); exit.Code != 5 {
		t.Errorf("got %+v", exit)
	}
	if got := d.out.all(h.ctx, t); got != "up\nlast\n" {
		t.Errorf("output %q", got)
	}
}

func TestSleepingInitReaps(t *testing.T) {
	h := newHost(t)
	d := h.asleep(`echo up; i=0; while [ $i -lt 100 ]; do (sleep 0.001 &); i=$((i + 1)); done; echo done; exec sleep 1000`)
	d.out.await(h.ctx, t, "done\n")
	init, err := h.PID(h.ctx, d.ID)
	must(t, err)
	eventually(h.ctx, t, "the command alone is left", func() bool { return len(childrenOf(t, init)) == 1 })
	if !d.sleeps() {
		t.Error("dyno-init does not sleep any more")
	}
}

// Every signal is sent when the one before it has come, all through the moment in which dyno-init falls asleep.
func TestNoSignalIsLostWhenInitFallsAsleep(t *testing.T) {
	h := newHost(t)
	path, err := hears()
	must(t, err)
	app := h.slug(map[string]lab.File{"hears": {From: path, Mode: 0o755}})
	signals := []unix.Signal{unix.SIGHUP, unix.SIGINT, unix.SIGQUIT, unix.SIGUSR1, unix.SIGUSR2, unix.SIGWINCH, unix.SIGALRM}
	for range 3 {
		d := h.run(app, "exec ./hears")
		want := "up\n"
		d.out.await(h.ctx, t, want)
		for slept := 0; slept < 20; {
			for _, s := range signals {
				must(t, h.Signal(h.ctx, d.ID, s))
				want += unix.SignalName(s) + "\n"
				d.out.await(h.ctx, t, want)
			}
			if d.sleeps() {
				slept++
			}
		}
		must(t, h.Delete(h.ctx, d.ID))
	}
}

// A dyno's processes have dyno-init's user. This one tries to look into it all through the moment in which it falls asleep.
func TestSleepingInitIsHidden(t *testing.T) {
	h := newHost(t)
	const look = `cat /proc/1/environ 2>/dev/null && echo seen; ls /proc/1/fd/60 2>/dev/null && echo seen`
	d := h.run(h.slug(nil), `while [ ! -e /tmp/stop ]; do `+look+`; done; echo up; sleep 1000`)
	eventually(h.ctx, t, "dyno-init sleeps", d.sleeps)
	must(t, os.WriteFile(d.file("tmp/stop"), nil, 0o644))
	d.out.await(h.ctx, t, "up\n")
	if _, out, errs := d.exec(nil, look+`; cut -d ' ' -f 1,2 /proc/1/stat; cat /dyno-init; ls -l /dyno-init | cut -c 1-10`).ends(); out != "1 (dyno-init)\n-rwx--x--x\n" {
		t.Errorf("got %q, %q", out, errs)
	}
	if got := d.out.String(); got != "up\n" {
		t.Errorf("a process of the dyno has seen dyno-init's: %q", got)
	}
	if kept, err := h.Kept(h.ctx, d.ID); err != nil || len(kept) != 4 {
		t.Errorf("%d pipes are kept: %v", len(kept), err)
	} else {
		for _, f := range kept {
			must(t, f.Close())
		}
	}
}

func TestExecWhileInitSleeps(t *testing.T) {
	h := newHost(t)
	d := h.asleep(`echo up; sleep 1000 & wait`)
	const look = `grep SigBlk /proc/self/status | tr -d '\t'; env | cut -d = -f 1 | sort | tr '\n' ' '; ls /proc/self/fd`
	_, asleep, _ := d.exec(nil, look).ends()
	if want := "SigBlk:0000000000000000\nHOME PATH PWD SHLVL 0\n1\n2\n3\n"; asleep != want {
		t.Errorf("got %q, want %q", asleep, want)
	}
	first, second := d.exec(&terminal, `trap 'exit 4' TERM; echo up; sleep 1000 & wait`), d.exec(nil, `sleep 1000 >/dev/null 2>&1 & echo left; exit 7`)
	first.hears("up")
	second.hears("left")
	if code, _, _ := second.ends(); code != 7 {
		t.Errorf("code %d", code)
	}
	if !d.sleeps() {
		t.Error("dyno-init does not sleep any more")
	}
	h.restart() // hangs the first one up
	d.wide(t)
	must(t, h.Signal(h.ctx, d.ID, unix.SIGTERM))
	d.wait()
}

// wide waits until nothing but the command and what executed commands left runs.
func (d *dyno) wide(t *testing.T) {
	t.Helper()
	init, err := d.PID(d.ctx, d.ID)
	must(t, err)
	eventually(d.ctx, t, "executed commands have ended", func() bool { return len(childrenOf(t, init)) == 2 })
}

func TestExecIsRefusedWhileASleepingInitIsStopped(t *testing.T) {
	h := newHost(t)
	d := h.asleep(`trap 'echo stopping' TERM; echo up; while :; do sleep 1000 & wait; done`)
	must(t, h.Signal(h.ctx, d.ID, unix.SIGTERM))
	d.out.await(h.ctx, t, "stopping\n")
	_, err := h.Exec(h.ctx, d.ID, plan(nil, "true"))
	if _, refused := errors.AsType[*runtime.LaunchError](err); !refused {
		t.Errorf("got %v", err)
	}
}

// The app executes dyno-init as an assistant too, whose parent is dyno-init by the time that it comes. dyno-init itself is held.
func TestAssistantOfTheAppIsToldNothing(t *testing.T) {
	h := newHost(t)
	d := h.asleep(`echo up; while :; do (/dyno-init assist &); sleep 0.1; done`)
	freeze(t, h, d)
	ctx, cancel := context.WithTimeout(h.ctx, 2*time.Second)
	defer cancel()
	if _, err := h.Exec(ctx, d.ID, plan(nil, "true")); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	thaw(t, h, d)
	if code, _, _ := d.exec(nil, "exit 7").ends(); code != 7 {
		t.Errorf("code %d", code)
	}
}

// A dyno with few processes to spare, or none, keeps what it has: an assistant that cannot be is no harm.
func TestExecWithoutProcessesToSpare(t *testing.T) {
	h := newHost(t)
	for _, c := range []struct {
		spare  int
		enough bool
	}{{0, false}, {4, false}, {12, true}} {
		d := h.limited(runtime.Limits{Memory: 64 << 20, Pids: 20})
		must(t, d.launch("sh", "-c", fmt.Sprintf(`mkfifo /tmp/go; echo up; read x </tmp/go; for i in $(seq %d); do sleep 1000 & done; echo full; wait`, 20-2-c.spare)))
		d.out.await(h.ctx, t, "up\n")
		eventually(h.ctx, t, "dyno-init sleeps", d.sleeps)
		must(t, os.WriteFile(d.file("tmp/go"), []byte("\n"), 0))
		d.out.await(h.ctx, t, "full\n")
		ctx, cancel := context.WithTimeout(h.ctx, 2*time.Second)
		if p, err := h.Exec(ctx, d.ID, plan(nil, "true")); (err == nil) != c.enough {
			t.Errorf("%d to spare: %v", c.spare, err)
		} else if err == nil {
			must(t, p.Close())
		}
		if !d.sleeps() {
			t.Errorf("%d to spare: dyno-init does not sleep any more", c.spare)
		}
		cancel()
	}
}
