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

func TestExecLeavesNothing(t *testing.T) {
	h, d := sleeper(t)
	init, err := h.PID(h.ctx, d.ID)
	must(t, err)
	d.exec(nil, "true").ends()
	files := filesOf(t, init)
	for range 5 {
		d.exec(nil, `(sleep 0.02 &)`).ends()
		d.exec(&terminal, `sleep 0.02 &`).ends()
	}
	eventually(h.ctx, t, "only the dyno's own command is left", func() bool { return len(childrenOf(t, init)) == 1 })
	eventually(h.ctx, t, "dyno-init has let go of everything", func() bool { return filesOf(t, init) <= files })
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

func filesOf(t *testing.T, pid int) int {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join("/proc", strconv.Itoa(pid), "fd"))
	must(t, err)
	return len(entries)
}
