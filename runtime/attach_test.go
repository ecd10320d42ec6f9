package runtime_test

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/dynod/dynod/runtime"
)

// caller talks with a command.
type caller struct {
	*host
	*runtime.Stdio
	out, errs *output // errs is nil where standard error is not apart
}

func (h *host) caller(s *runtime.Stdio) *caller {
	h.t.Helper()
	if s == nil {
		h.t.Fatal("nothing to talk through")
	}
	c := &caller{host: h, Stdio: s, out: collect(h.t, s.Output)}
	if s.Errors != nil {
		c.errs = collect(h.t, s.Errors)
	}
	h.t.Cleanup(func() { _ = s.Close() })
	return c
}

func (c *caller) say(text string) {
	c.t.Helper()
	_, err := c.Input.WriteString(text)
	must(c.t, err)
}

func (c *caller) hears(text string) {
	c.t.Helper()
	c.out.await(c.ctx, c.t, text)
}

// attached is a dyno whose command, a shell script, talks with a caller.
func (h *host) attached(a runtime.Attach, script string) (*dyno, *caller) {
	h.t.Helper()
	d := h.created(h.slug(nil))
	must(h.t, d.Start(h.ctx, d.ID))
	must(h.t, d.launchPlan(runtime.Plan{
		Args: []string{"sh", "-c", script}, Env: []string{"PATH=/usr/bin:/bin"}, Dir: "/app", Attach: &a,
	}))
	return d, h.caller(d.stdio)
}

// file is a file of a running dyno as the host sees it.
func (d *dyno) file(path string) string {
	d.t.Helper()
	pid, err := d.PID(d.ctx, d.ID)
	must(d.t, err)
	return filepath.Join("/proc", strconv.Itoa(pid), "root", path)
}

func (d *dyno) has(path string) func() bool {
	return func() bool { _, err := os.Stat(d.file(path)); return err == nil }
}

var terminal = runtime.Attach{Terminal: true, Size: runtime.WindowSize{Rows: 33, Columns: 111}}

const forever = "; while :; do sleep 0.05; done"

func TestTerminalIsTheCommands(t *testing.T) {
	h := newHost(t)
	d, c := h.attached(terminal, `tty; stty size; echo on >/dev/tty; trap 'stty size; echo changed' WINCH; echo ready`+forever)
	c.hears("/dev/pts/0\r\n33 111\r\non\r\nready\r\n")
	must(t, c.Resize(runtime.WindowSize{Rows: 44, Columns: 122}))
	c.hears("44 122\r\nchanged\r\n")
	c.say("\x03")
	if exit := d.wait(); exit.Code != 130 || exit.Signal != int(unix.SIGINT) {
		t.Errorf("after Ctrl-C: %+v", exit)
	}
	c.out.all(h.ctx, t)
}

func TestTerminalWithoutSize(t *testing.T) {
	h := newHost(t)
	d, c := h.attached(runtime.Attach{Terminal: true}, `tty; stty rows 3 columns 4; stty size; exit 7`)
	if exit, got := d.wait(), c.out.all(h.ctx, t); exit.Code != 7 || got != "/dev/pts/0\r\n3 4\r\n" {
		t.Errorf("got %q, %+v", got, exit)
	}
}

func TestEndOfInputOnATerminal(t *testing.T) {
	h := newHost(t)
	d, c := h.attached(terminal, `cat; exit 7`)
	c.say("hello\n")
	c.hears("hello\r\nhello\r\n") // the echo, and cat
	must(t, c.CloseInput())
	if exit := d.wait(); exit.Code != 7 {
		t.Errorf("got %+v", exit)
	}
}

func TestOutputIsWholeAtTheExit(t *testing.T) {
	h := newHost(t)
	for _, a := range []runtime.Attach{{}, terminal} {
		d, c := h.attached(a, `head -c 1000000 /dev/zero | tr '\0' x; printf end; exit 7`)
		exit, got := d.wait(), c.out.all(h.ctx, t)
		if exit.Code != 7 || len(got) != 1_000_003 || !strings.HasSuffix(got, "xend") {
			t.Errorf("%+v: %d bytes, %+v", a, len(got), exit)
		}
	}
}

// TestOutputEndsWithItsLastWriter: dyno-init, which outlives it, holds nothing open.
func TestOutputEndsWithItsLastWriter(t *testing.T) {
	h := newHost(t)
	d, c := h.attached(runtime.Attach{}, `echo up; exec >&- 2>&-; read x; exit 3`)
	if got := c.out.all(h.ctx, t); got != "up\n" {
		t.Errorf("got %q", got)
	}
	c.say("\n")
	if exit := d.wait(); exit.Code != 3 {
		t.Errorf("got %+v", exit)
	}
}

func TestLostTerminalHangsUp(t *testing.T) {
	h := newHost(t)
	d, c := h.attached(terminal, `trap 'echo >/tmp/hup; exit 3' HUP; echo ready`+forever)
	c.hears("ready")
	h.restart() // what the caller holds is the caller's
	c.say("\n")
	c.hears("ready\r\n\r\n") // and the next read waits
	if d.has("tmp/hup")() {
		t.Error("hung up with the runtime")
	}
	must(t, c.Close())
	<-c.out.done // the read did not outlive its file
	if exit := d.wait(); exit.Code != 3 {
		t.Errorf("got %+v", exit)
	}
}

func TestPipesOfAnAttachedCommand(t *testing.T) {
	h := newHost(t)
	d, c := h.attached(runtime.Attach{}, `cat; echo end >&2; echo again >/dev/stdout; exit 5`)
	must(t, c.Resize(runtime.WindowSize{Rows: 1, Columns: 1}))
	c.say("one\n")
	c.hears("one\n")
	must(t, c.CloseInput())
	if exit, got := d.wait(), c.out.all(h.ctx, t); exit.Code != 5 || got != "one\nend\nagain\n" || c.errs != nil {
		t.Errorf("got %q, %+v", got, exit)
	}
}

func TestMuchInput(t *testing.T) {
	h := newHost(t)
	d, c := h.attached(runtime.Attach{}, `wc -c`)
	c.say(strings.Repeat("0123456789abcdef", 200_000))
	must(t, c.CloseInput())
	if exit, got := d.wait(), c.out.all(h.ctx, t); exit.Code != 0 || got != "3200000\n" {
		t.Errorf("got %q, %+v", got, exit)
	}
}

// TestAttachedCommandLogsNothing: the log pipes end at once, and are yet the sign that the dyno has its plan.
func TestAttachedCommandLogsNothing(t *testing.T) {
	h := newHost(t)
	for _, a := range []runtime.Attach{{}, terminal} {
		d, c := h.attached(a, `echo up; echo also >&2; read x; exit 4`)
		c.hears("also")
		if got := d.out.all(h.ctx, t) + d.err.all(h.ctx, t); got != "" {
			t.Errorf("logged %q", got)
		}
		kept, err := h.Kept(h.ctx, d.ID)
		must(t, err)
		for _, f := range kept {
			must(t, f.Close())
		}
		must(t, d.launchPlan(runtime.Plan{Args: []string{"true"}, Dir: "/", Attach: &a}))
		if d.stdio != nil {
			t.Error("a second launch took over what the first one talks through")
		}
		c.say("\n")
		if exit := d.wait(); exit.Code != 4 {
			t.Errorf("got %+v", exit)
		}
	}
}

func TestAttachedCommandThatCannotRun(t *testing.T) {
	h := newHost(t)
	for _, a := range []runtime.Attach{{}, terminal} {
		d := h.created(h.slug(nil))
		must(t, h.Start(h.ctx, d.ID))
		d.comesToTheDoor() // and is known from now on
		before := openFiles(t)
		err := d.launchPlan(runtime.Plan{Args: []string{"no-such-program"}, Dir: "/", Attach: &a})
		if failed, ok := errors.AsType[*runtime.LaunchError](err); !ok || !strings.Contains(failed.Reason, "no such file") {
			t.Errorf("got %v", err)
		}
		if d.stdio != nil || openFiles(t) > before+2 { // the read ends of the log
			t.Errorf("left %v, %d files instead of %d", d.stdio, openFiles(t), before)
		}
		if exit := d.wait(); exit.Code != 127 {
			t.Errorf("got %+v", exit)
		}
	}
}
