package runtime_test

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

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
		ulimit -c; cut -d ' ' -f 1,5,6 /proc/$$/stat | tr ' ' '\n' | sort -u | wc -l; echo out >/dev/stdout; ls /proc/self/fd`)
	const want = "1000\n1000\n/tmp\n/app\n0000000000000000\nNoNewPrivs:1\nSeccomp:2\nrefused\n0\n1\nout\n0\n1\n2\n3\n"
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
	first := d.exec(&terminal, `tty; echo $(ls /proc/self/fd); read x`)
	first.hears("/dev/pts/0\r\n0 1 2 3\r\n") // the last is ls's own
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
