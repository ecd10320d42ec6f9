package runtime_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"

	"github.com/dynod/dynod/runtime"
)

// execution is a command that Exec has started, with its caller.
type execution struct {
	runtime.Process
	*caller
}

func (e *execution) Close() error { return e.Process.Close() }

// plan runs a shell script.
func plan(a *runtime.Attach, args ...string) runtime.Plan {
	return runtime.Plan{Args: args, Env: []string{"PATH=/usr/bin:/bin", "HOME=/app"}, Dir: "/tmp", Attach: a}
}

// exec runs a shell script in a dyno.
func (d *dyno) exec(a *runtime.Attach, script string) *execution {
	d.t.Helper()
	p, err := d.Exec(d.ctx, d.ID, plan(a, "sh", "-c", script))
	must(d.t, err)
	d.t.Cleanup(func() { _ = p.Close() })
	return &execution{Process: p, caller: d.caller(p.Stdio())}
}

// ends is how it ended, and what it wrote.
func (e *execution) ends() (code int, out, errs string) {
	e.t.Helper()
	code, err := e.Process.Wait(e.ctx)
	must(e.t, err)
	out = e.out.all(e.ctx, e.t)
	if e.errs != nil {
		errs = e.errs.all(e.ctx, e.t)
	}
	return code, out, errs
}

// sleeper is a dyno in which nothing happens.
func sleeper(t *testing.T) (*host, *dyno) {
	t.Helper()
	h := newHost(t)
	return h, h.run(h.slug(nil), `trap 'exit 9' TERM; sleep 1000 & wait`)
}

func TestExecHasTheWallsOfTheDyno(t *testing.T) {
	_, d := sleeper(t)
	e := d.exec(nil, `id -u; id -g; pwd; echo $HOME
		grep ^Cap /proc/self/status | tr -d '\t' | cut -d: -f2 | sort -u
		grep -e NoNewPrivs -e Seccomp: /proc/self/status | tr -d '\t'
		unshare -U true 2>/dev/null || echo refused
		ulimit -c; cut -d ' ' -f 1,5,6 /proc/$$/stat | tr ' ' '\n' | sort -u | wc -l; echo out >/dev/stdout`)
	const want = "1000\n1000\n/tmp\n/app\n0000000000000000\nNoNewPrivs:1\nSeccomp:2\nrefused\n0\n1\nout\n"
	if code, out, errs := e.ends(); code != 0 || out != want || errs != "" {
		t.Errorf("code %d, %q, %q", code, out, errs)
	}
}

func TestExecIsInTheCgroupOfTheDyno(t *testing.T) {
	h, d := sleeper(t)
	e := d.exec(nil, `echo up; read x`)
	e.hears("up")
	init, err := h.PID(h.ctx, d.ID)
	must(t, err)
	want, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(init), "cgroup"))
	must(t, err)
	children := childrenOf(t, init)
	if len(children) != 2 {
		t.Errorf("dyno-init has children %v", children)
	}
	for _, child := range children {
		if got, err := os.ReadFile(filepath.Join("/proc", child, "cgroup")); err != nil || string(got) != string(want) {
			t.Errorf("cgroups %q (%v), dyno-init's %q", got, err, want)
		}
	}
}

func childrenOf(t *testing.T, pid int) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("/proc", strconv.Itoa(pid), "task", "*", "children"))
	must(t, err)
	var children []string
	for _, file := range files {
		text, err := os.ReadFile(file)
		must(t, err)
		children = append(children, strings.Fields(string(text))...)
	}
	return children
}

func TestExecCountsInTheLimitOfProcesses(t *testing.T) {
	h := newHost(t)
	d := h.limited(runtime.Limits{Memory: 64 << 20, Pids: 20})
	must(t, d.launch("sleep", "1000"))
	_, _, errs := d.exec(nil, "for i in $(seq 30); do sleep 1 & done").ends()
	if !strings.Contains(errs, "Resource temporarily unavailable") {
		t.Errorf("30 processes of 20: %q", errs)
	}
}

func TestExecTellsHowItEnded(t *testing.T) {
	h, d := sleeper(t)
	for _, a := range []*runtime.Attach{nil, {}, &terminal} {
		for script, want := range map[string]int{"exit 0": 0, "exit 7": 7, "exit 255": 255, "kill -SEGV $$": 139} {
			if code, _, _ := d.exec(a, script).ends(); code != want {
				t.Errorf("%s: %d, want %d", script, code, want)
			}
		}
	}
	e := d.exec(nil, `echo out; echo err >&2; cat; exit 3`)
	e.say("in\n")
	must(t, e.CloseInput())
	if code, out, errs := e.ends(); code != 3 || out != "out\nin\n" || errs != "err\n" {
		t.Errorf("code %d, %q, %q", code, out, errs)
	}
	if code, err := e.Process.Wait(h.ctx); code != 3 || err != nil {
		t.Errorf("asked again: %d, %v", code, err)
	}
	if err := e.Process.Signal(unix.SIGTERM); !errdefs.IsNotFound(err) {
		t.Errorf("signal to what has ended: %v", err)
	}
}

func TestExecOutputIsWhole(t *testing.T) {
	_, d := sleeper(t)
	for _, a := range []*runtime.Attach{nil, &terminal} {
		code, out, _ := d.exec(a, `head -c 1000000 /dev/zero | tr '\0' x; printf end; exit 7`).ends()
		if code != 7 || len(out) != 1_000_003 || !strings.HasSuffix(out, "xend") {
			t.Errorf("code %d, %d bytes", code, len(out))
		}
	}
}

func TestExecOnATerminal(t *testing.T) {
	_, d := sleeper(t)
	first := d.exec(&terminal, `tty; read x`)
	first.hears("/dev/pts/0\r\n")
	e := d.exec(&terminal, `tty; stty size; trap 'stty size; echo changed' WINCH; echo ready`+forever)
	e.hears("/dev/pts/1\r\n33 111\r\nready\r\n")
	must(t, e.Resize(runtime.WindowSize{Rows: 44, Columns: 122}))
	e.hears("44 122\r\nchanged\r\n")
	e.say("\x03")
	if code, _, _ := e.ends(); code != 130 {
		t.Errorf("after Ctrl-C: %d", code)
	}
	first.say("\n")
	if code, _, _ := first.ends(); code != 0 {
		t.Errorf("the other one: %d", code)
	}
}

func TestExecTakesSignals(t *testing.T) {
	_, d := sleeper(t)
	e := d.exec(nil, `(trap 'echo child' USR1; echo ready1`+forever+`) & trap 'echo main' USR1; echo ready2`+forever)
	e.hears("ready1\n")
	e.hears("ready2\n")
	must(t, e.Process.Signal(unix.SIGUSR1))
	e.hears("child\n")
	e.hears("main\n")
	for _, s := range []unix.Signal{0, -1, 65} {
		if err := e.Process.Signal(s); !errdefs.IsInvalidArgument(err) {
			t.Errorf("signal %d: %v", s, err)
		}
	}
	must(t, e.Process.Signal(unix.SIGKILL))
	if code, _, _ := e.ends(); code != 137 {
		t.Errorf("got %d", code)
	}
}

func TestExecOfWhatCannotRun(t *testing.T) {
	h, d := sleeper(t)
	before := openFiles(t)
	for name, c := range map[string]struct {
		plan   runtime.Plan
		reason string
	}{
		"no program":   {plan(nil, "no-such-program"), "no such file"},
		"a file":       {plan(&terminal, "/app/hello"), "permission denied"},
		"no directory": {runtime.Plan{Args: []string{"true"}, Dir: "/no/such/dir"}, "working directory"},
	} {
		_, err := h.Exec(h.ctx, d.ID, c.plan)
		if failed, ok := errors.AsType[*runtime.LaunchError](err); !ok || !strings.Contains(failed.Reason, c.reason) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, p := range map[string]runtime.Plan{"no command": plan(nil), "NUL": plan(nil, "a\x00b"), "directory": {Args: []string{"a"}, Dir: "b"}} {
		if _, err := h.Exec(h.ctx, d.ID, p); !errdefs.IsInvalidArgument(err) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if now := openFiles(t); now > before {
		t.Errorf("%d files, %d before", now, before)
	}
	if code, out, _ := d.exec(nil, "echo still").ends(); code != 0 || out != "still\n" {
		t.Errorf("after failures: %q, code %d", out, code)
	}
}

func TestExecInAnEndedDyno(t *testing.T) {
	h, d := sleeper(t)
	e := d.exec(nil, `trap '' HUP TERM; echo up`+forever)
	e.hears("up")
	must(t, h.Signal(h.ctx, d.ID, unix.SIGKILL))
	if code, err := e.Process.Wait(h.ctx); !errdefs.IsNotFound(err) {
		t.Errorf("a command that went with its dyno: code %d, %v", code, err)
	}
	d.wait()
	if _, err := h.Exec(h.ctx, d.ID, plan(nil, "true")); !errdefs.IsNotFound(err) {
		t.Errorf("exec in a dyno that has ended: %v", err)
	}
	must(t, h.Delete(h.ctx, d.ID))
	if _, err := h.Exec(h.ctx, d.ID, plan(nil, "true")); !errdefs.IsNotFound(err) {
		t.Errorf("exec in a dyno that is gone: %v", err)
	}
	if _, err := h.Exec(h.ctx, "../"+d.ID, plan(nil, "true")); !errdefs.IsInvalidArgument(err) {
		t.Errorf("exec in no id: %v", err)
	}
}

func TestExecDoesNotKeepADyno(t *testing.T) {
	h := newHost(t)
	d := h.run(h.slug(nil), `while test ! -e /tmp/go; do sleep 0.02; done; exit 6`)
	e := d.exec(&terminal, `trap '' HUP TERM; echo up`+forever)
	e.hears("up")
	must(t, os.WriteFile(d.file("tmp/go"), nil, 0o644))
	if exit := d.wait(); exit.Code != 6 {
		t.Errorf("got %+v", exit)
	}
	if _, err := e.Process.Wait(h.ctx); !errdefs.IsNotFound(err) {
		t.Errorf("got %v", err)
	}
	e.out.all(h.ctx, t)
}

// TestExecDoesNotHoldUpAStop: interactive shells ignore SIGTERM.
func TestExecDoesNotHoldUpAStop(t *testing.T) {
	h, d := sleeper(t)
	p, err := h.Exec(h.ctx, d.ID, plan(&terminal, "bash", "-i"))
	must(t, err)
	shell := &execution{Process: p, caller: h.caller(p.Stdio())}
	t.Cleanup(func() { must(t, p.Close()) })
	shell.say("echo re''ady; sleep 1000\n")
	shell.hears("ready")
	deaf := d.exec(nil, `trap '' TERM; echo ready`+forever)
	deaf.hears("ready")
	began := time.Now()
	must(t, h.Signal(h.ctx, d.ID, unix.SIGTERM))
	if exit := d.wait(); exit.Code != 9 {
		t.Errorf("got %+v", exit)
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("the stop took %s", took)
	}
	if code, err := deaf.Process.Wait(h.ctx); err != nil && !errdefs.IsNotFound(err) || err == nil && code != 129 {
		t.Errorf("the deaf one: %d, %v", code, err)
	}
}

func TestExecInAStoppingDyno(t *testing.T) {
	h := newHost(t)
	d := h.run(h.slug(nil), `trap 'echo asked' TERM; echo up`+forever)
	d.out.await(h.ctx, t, "up")
	must(t, h.Signal(h.ctx, d.ID, unix.SIGTERM))
	d.out.await(h.ctx, t, "asked")
	if _, err := h.Exec(h.ctx, d.ID, plan(nil, "true")); !strings.Contains(fmt.Sprint(err), "being stopped") {
		t.Errorf("got %v", err)
	}
}

func TestExecsAtOnce(t *testing.T) {
	_, d := sleeper(t)
	var all sync.WaitGroup
	for i := range 20 {
		all.Go(func() {
			e := d.exec(nil, fmt.Sprintf("cat; echo %d >&2; exit %d", i, i))
			e.say(fmt.Sprint(i))
			_ = e.CloseInput()
			code, out, errs := e.ends()
			if code != i || out != fmt.Sprint(i) || errs != fmt.Sprintln(i) {
				t.Errorf("%d: code %d, %q, %q", i, code, out, errs)
			}
		})
	}
	all.Wait()
}

func TestLostCallerHangsUp(t *testing.T) {
	h, d := sleeper(t)
	for name, lose := range map[string]func(*execution){
		"close": func(e *execution) { must(t, e.Close()); must(t, e.Close()) },
		"agent": func(*execution) { h.restart() },
	} {
		for mode, a := range map[string]*runtime.Attach{"pipes": nil, "terminal": &terminal} {
			mark := "tmp/" + name + mode
			// The shell would say on its standard error that its sleep was hung up, and die of that.
			e := d.exec(a, `trap 'echo >/`+mark+`; exit' HUP; echo ready; exec 2>/dev/null`+forever)
			e.hears("ready")
			lose(e)
			eventually(h.ctx, t, mark+": the command is hung up", d.has(mark))
			<-e.out.done
			if _, err := e.Process.Wait(h.ctx); !errdefs.IsNotFound(err) {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
	if code, out, _ := d.exec(nil, "echo alive").ends(); code != 0 || out != "alive\n" {
		t.Errorf("afterwards: %q, code %d", out, code)
	}
}

func TestExecLeavesNoZombies(t *testing.T) {
	h, d := sleeper(t)
	for range 10 {
		d.exec(nil, `(sleep 0.02 &)`).ends()
	}
	init, err := h.PID(h.ctx, d.ID)
	must(t, err)
	eventually(h.ctx, t, "only the dyno's own command is left", func() bool { return len(childrenOf(t, init)) == 1 })
}

func TestExecIsBounded(t *testing.T) {
	h, d := sleeper(t)
	must(t, h.Runtime.Signal(h.ctx, d.ID, unix.SIGWINCH)) // dyno-init is known
	freeze(t, h, d)
	short, cancel := context.WithTimeout(h.ctx, 200*time.Millisecond)
	defer cancel()
	if _, err := h.Exec(short, d.ID, plan(nil, "true")); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("exec while dyno-init hangs: %v", err)
	}
	thaw(t, h, d)
	if code, out, _ := d.exec(nil, "echo again").ends(); code != 0 || out != "again\n" {
		t.Errorf("afterwards: %q, code %d", out, code)
	}
}

func TestStrangersAreNotAskedToExec(t *testing.T) {
	h, d := sleeper(t)
	socket := filepath.Join(h.config.RunDir, d.ID, "launch", "launch.sock")
	freeze(t, h, d)
	executed := make(chan string, 1)
	go func() {
		_, out, _ := d.exec(nil, "echo done").ends()
		executed <- out
	}()
	eventually(h.ctx, t, "the socket is there", func() bool { _, err := os.Stat(socket); return err == nil })
	if heard := askAs(t, socket); heard != "" {
		t.Errorf("a stranger was told %q", heard)
	}
	thaw(t, h, d)
	if out := <-executed; out != "done\n" {
		t.Errorf("got %q", out)
	}
	if _, err := os.Stat(socket); !os.IsNotExist(err) {
		t.Errorf("the socket outlives the exec: %v", err)
	}
}
