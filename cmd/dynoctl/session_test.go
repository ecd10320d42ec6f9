package main_test

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/containerd/console"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/testing/protocmp"

	dynodv1 "github.com/dynod/dynod/proto/dynod/v1"
)

func execOf(words ...string) *dynodv1.ExecDynoRequest {
	return &dynodv1.ExecDynoRequest{Message: &dynodv1.ExecDynoRequest_Start{Start: &dynodv1.ExecStart{DynoId: webID, Command: words}}}
}

func TestExec(t *testing.T) {
	a := newAgent(t)
	want(t, run(t, a, "hello", "exec", "web.1", "ls", "-l"), 7, "ready\nheard \"hello\"\n", "eof\n")
	want(t, run(t, a, "succeed", "ps:exec", "web.1", "--", "ls", "--", "-l"), 0, "ready\n", "")
	want(t, run(t, a, "lose", "exec", "-T", "shop/web.1"), 125, "ready\n", "dynoctl: its status is lost: shim killed\n")
	wantOrders(t, a, execOf("ls", "-l"), execOf("ls", "--", "-l"), execOf())
}

func TestAttach(t *testing.T) {
	a := newAgent(t)
	want(t, run(t, a, "hello", "attach", "web.1"), 7, "heard \"hello\"\neof\n", "")
	wantOrders(t, a, &dynodv1.AttachDynoRequest{Message: &dynodv1.AttachDynoRequest_DynoId{DynoId: webID}})
	a.change(func(w *world) { w.refuse = status.Error(codes.FailedPrecondition, "it has its client") })
	want(t, run(t, a, "", "attach", "web.1"), 125, "", "dynoctl: it has its client\n")
	a.change(func(w *world) { w.dynos[2].Name = "run.1" })
	want(t, run(t, a, "", "attach", "run.1"), 125, "", "dynoctl: shop/run.1 is crashed, exit lost R99\ndynoctl: shim killed\n")
}

// Failures of dynoctl itself must not look like the command's.
func TestFailuresOfSessions(t *testing.T) {
	a := newAgent(t)
	for _, args := range [][]string{
		{"exec"},
		{"exec", "nobody"},
		{"exec", "--bad", "web.1"},
		{"attach"},
		{"run"},
		{"run", "-f", "/nowhere"},
		{"run", "-f", "-"},
		{"run:detached", "-f", "/nowhere"},
		{"wait"},
		{"wait", "nobody"},
		{"exec", "-t", "-T", "web.1"},
		{"exec", "--socket", "/nowhere", "web.1"},
	} {
		if got := run(t, a, "", args...); got.code != 125 || got.errOut == "" {
			t.Errorf("%q: %+v", args, got)
		}
	}
}

const webOrder = `
header: {dyno_id: ` + webID + `, generation: 4}
spec: {app: shop, name: web.1, command: {line: "bin/web"}, restart_policy: {kind: KIND_BACKOFF}, environment: {LEVEL: "3"}}
`

func writeOrder(t *testing.T, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "order.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestRun(t *testing.T) {
	a := newAgent(t)
	file := writeOrder(t, webOrder)
	want(t, run(t, a, "quit", "run", "-f", file, "-s", "eco", "--set-env", "A=b", "--", "ls", "a b", "it's", "$X"), 7, "", "")
	order := a.orders()[0].(*dynodv1.StartDynoRequest)
	id, name := order.GetHeader().GetDynoId(), order.GetSpec().GetName()
	if id == webID || len(id) != len(webID) || !strings.HasPrefix(name, "run.") {
		t.Errorf("dyno %s, %s", id, name)
	}
	if diff := cmp.Diff(&dynodv1.StartDynoRequest{
		Header: &dynodv1.OrderHeader{DynoId: id, Generation: 1},
		Spec: &dynodv1.DynoSpec{
			App: "shop", Name: name, Type: "run", Size: "eco", OneOff: true, Command: &dynodv1.Command{Line: `ls 'a b' 'it'\''s' '$X'`},
			Environment: map[string]string{"LEVEL": "3", "A": "b"}, Attach: &dynodv1.AttachRequest{},
		},
	}, order, protocmp.Transform()); diff != "" {
		t.Error(diff)
	}
	if attached := a.orders()[1].(*dynodv1.AttachDynoRequest); attached.GetDynoId() != id {
		t.Errorf("attached to %v", attached)
	}

	// An order of a one-off dyno stays what it is.
	file = writeOrder(t, strings.NewReplacer("web.1", "task.3", "app: shop", "app: shop, one_off: true, artifact: {image: {reference: img}}").Replace(webOrder))
	want(t, run(t, a, "quit", "run", "-f", file, "ls", "a b"), 7, "", "")
	order = a.orders()[2].(*dynodv1.StartDynoRequest)
	if order.GetHeader().GetDynoId() != webID || order.GetSpec().GetName() != "task.3" || !cmp.Equal(order.GetSpec().GetCommand().GetWords(), []string{"ls", "a b"}) {
		t.Errorf("got %v", order)
	}
}

// Who gives up before the command runs leaves no dyno behind.
func TestRunIsInterrupted(t *testing.T) {
	a := newAgent(t)
	a.change(func(w *world) { w.stay = true })
	once := writeOrder(t, strings.Replace(webOrder, "app: shop", "app: shop, one_off: true", 1))
	cmd := exec.CommandContext(t.Context(), dynoctl, "--socket", a.socket, "run", "-f", once)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(10 * time.Second); len(a.orders()) < 2 && time.Now().Before(deadline); {
		time.Sleep(time.Millisecond)
	}
	if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	orders := a.orders()
	stop, ok := orders[len(orders)-1].(*dynodv1.StopDynoRequest)
	if code := cmd.ProcessState.ExitCode(); code != 125 || !ok || stop.GetHeader().GetDynoId() != webID {
		t.Errorf("code %d, orders %v", code, orders)
	}
}

func TestRunDetached(t *testing.T) {
	a := newAgent(t)
	file := writeOrder(t, webOrder)
	got := run(t, a, "", "run:detached", "-f", file, "sleep 1 | cat")
	order := a.orders()[0].(*dynodv1.StartDynoRequest)
	want(t, got, 0, order.GetHeader().GetDynoId()+"\n", "")
	if s := order.GetSpec(); s.GetAttach() != nil || !s.GetOneOff() || s.GetCommand().GetLine() != "sleep 1 | cat" {
		t.Errorf("got %v", s)
	}
	once := writeOrder(t, strings.Replace(webOrder, "app: shop", "app: shop, one_off: true", 1))
	a.change(func(w *world) {
		w.dynos[1].Phase, w.dynos[1].Exit = dynodv1.Phase_PHASE_COMPLETE, &dynodv1.Exit{Code: 3}
	})
	want(t, run(t, a, "", "run:detached", "-f", once, "--wait"), 3, webID+"\n", "")
}

func TestWait(t *testing.T) {
	a := newAgent(t)
	ended := &dynodv1.Dyno{Id: webID, App: "shop", Name: "web.1", Phase: dynodv1.Phase_PHASE_COMPLETE, Exit: &dynodv1.Exit{Code: 5}}
	a.change(func(w *world) {
		w.news = []*dynodv1.WatchDynosResponse{{Event: &dynodv1.WatchDynosResponse_Changed{Changed: ended}}}
	})
	want(t, run(t, a, "", "wait", "web.1"), 5, webID+" shop/web.1 complete\n", "")
	want(t, run(t, a, "", "wait", webID, oldID), 0, webID+" shop/web.1 complete\n"+oldID+" shop/web.1 down\n", "")
	want(t, run(t, a, "", "wait", workerID), 125, workerID+" shop/worker.1 crashed\n", "dynoctl: its status is lost: shim killed\n")
	a.change(func(w *world) { w.dynos[0].Exit = nil })
	want(t, run(t, a, "", "wait", oldID), 125, oldID+" shop/web.1 down\n", "dynoctl: shop/web.1 was stopped before its command ran\n")
}

func TestSignal(t *testing.T) {
	a := newAgent(t)
	for _, word := range []string{"USR1", "SIGUSR1", "usr1", "10"} {
		want(t, run(t, a, "", "signal", "web.1", word), 0, "", "")
	}
	want(t, run(t, a, "", "kill", "web.1", "HUP"), 0, "", "")
	want(t, run(t, a, "", "signal", "web.1", "LOUD"), 2, "", "dynoctl: \"LOUD\" is no signal\n")
	order := func(n int32) *dynodv1.SignalDynoRequest { return &dynodv1.SignalDynoRequest{DynoId: webID, Signal: n} }
	wantOrders(t, a, order(10), order(10), order(10), order(10), order(1))
}

func TestOtherNames(t *testing.T) {
	a := newAgent(t)
	for _, name := range []string{"list", "ls"} {
		want(t, run(t, a, "", name), 0, run(t, a, "", "ps").out, "")
	}
	want(t, run(t, a, "", "ps:stop", "web.1"), 0, webID+" shop/web.1 stopping\n", "")
	for _, command := range []string{"exec", "attach", "signal", "wait"} {
		if got := run(t, a, "", "__complete", command, ""); !strings.Contains(got.out, "shop/web.1") {
			t.Errorf("%s: completed by %q", command, got.out)
		}
	}
	for _, command := range []string{"exec", "attach", "signal"} {
		if got := run(t, a, "", "__complete", command, "web.1", ""); strings.Contains(got.out, "shop/web.1") {
			t.Errorf("%s: second word completed by %q", command, got.out)
		}
	}
}

// Without a terminal, signals are the command's.
func TestSignalsArePassedOn(t *testing.T) {
	a := newAgent(t)
	cmd := exec.CommandContext(t.Context(), dynoctl, "--socket", a.socket, "exec", "web.1")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	says := func(want string) {
		t.Helper()
		if !lines.Scan() || lines.Text() != want {
			t.Errorf("got %q, want %q", lines.Text(), want)
		}
	}
	says("ready")
	for sig, want := range map[syscall.Signal]string{syscall.SIGINT: "signal 2", syscall.SIGTERM: "signal 15", syscall.SIGHUP: "signal 1"} {
		if err := cmd.Process.Signal(sig); err != nil {
			t.Fatal(err)
		}
		says(want)
	}
	_ = in.Close()
	_ = cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); code != 7 {
		t.Errorf("code %d", code)
	}
}

// user is dynoctl on a terminal of its own.
type user struct {
	t        *testing.T
	terminal console.Console
	lines    *bufio.Scanner
	slave    *os.File
	before   unix.Termios
	cmd      *exec.Cmd
}

func atTerminal(t *testing.T, a *agent, args ...string) *user {
	t.Helper()
	terminal, name, err := console.NewPty()
	if err != nil {
		t.Fatal(err)
	}
	slave, err := os.OpenFile(name, os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = slave.Close(); _ = terminal.Close() })
	u := &user{t: t, terminal: terminal, slave: slave, lines: bufio.NewScanner(terminal)}
	u.resize(24, 80)
	u.before = u.mode()
	u.cmd = exec.CommandContext(t.Context(), dynoctl, append([]string{"--socket", a.socket}, args...)...)
	u.cmd.Stdin, u.cmd.Stdout, u.cmd.Stderr = slave, slave, slave
	u.cmd.Env = append(os.Environ(), "TERM=vt220")
	u.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := u.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return u
}

func (u *user) mode() unix.Termios {
	u.t.Helper()
	mode, err := unix.IoctlGetTermios(int(u.slave.Fd()), unix.TCGETS)
	if err != nil {
		u.t.Fatal(err)
	}
	return *mode
}

func (u *user) resize(rows, columns uint16) {
	u.t.Helper()
	if err := u.terminal.Resize(console.WinSize{Height: rows, Width: columns}); err != nil {
		u.t.Fatal(err)
	}
}

func (u *user) types(keys string) {
	u.t.Helper()
	if _, err := u.terminal.Write([]byte(keys)); err != nil {
		u.t.Fatal(err)
	}
}

func (u *user) sees(want string) {
	u.t.Helper()
	late := time.AfterFunc(20*time.Second, func() { _ = u.cmd.Process.Kill(); _ = u.slave.Close() })
	defer late.Stop()
	for u.lines.Scan() {
		if strings.TrimSpace(u.lines.Text()) == want {
			return
		}
	}
	u.t.Fatalf("%q never came", want)
}

// ends checks that dynoctl leaves with the code and its terminal as it was.
func (u *user) ends(code int) {
	u.t.Helper()
	_ = u.cmd.Wait()
	if got := u.cmd.ProcessState.ExitCode(); got != code {
		u.t.Errorf("code %d, want %d", got, code)
	}
	if after := u.mode(); after != u.before {
		u.t.Errorf("the terminal was left at %+v, it was %+v", after, u.before)
	}
}

func TestTerminal(t *testing.T) {
	a := newAgent(t)
	u := atTerminal(t, a, "exec", "web.1", "top")
	u.sees("ready")
	u.resize(30, 100)
	u.sees("size 30 100")
	u.types("\x03") // Ctrl-C is a key like others
	u.sees(`heard "\x03"`)
	u.types("quit")
	u.ends(7)
	wantOrders(t, a, &dynodv1.ExecDynoRequest{Message: &dynodv1.ExecDynoRequest_Start{Start: &dynodv1.ExecStart{
		DynoId: webID, Command: []string{"top"}, Terminal: true, Size: &dynodv1.WindowSize{Rows: 24, Columns: 80},
	}}})
}

func TestTerminalIsRestoredOnSignals(t *testing.T) {
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGHUP, syscall.SIGINT} {
		a := newAgent(t)
		u := atTerminal(t, a, "exec", "web.1")
		u.sees("ready")
		u.types("x")
		u.sees(`heard "x"`)
		if err := u.cmd.Process.Signal(sig); err != nil {
			t.Fatal(err)
		}
		u.ends(125)
		for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
			a.mu.Lock()
			hangUps := a.hangUps
			a.mu.Unlock()
			if hangUps == 1 {
				break
			}
			if time.Now().After(deadline) {
				t.Fatal("the agent was not told")
			}
		}
	}
}

func TestTerminalOfRun(t *testing.T) {
	a := newAgent(t)
	u := atTerminal(t, a, "run", "-f", writeOrder(t, webOrder), "top")
	u.sees("size 24 80")
	u.types("quit")
	u.ends(7)
	s := a.orders()[0].(*dynodv1.StartDynoRequest).GetSpec()
	if !s.GetAttach().GetTerminal() || s.GetAttach().GetSize().GetColumns() != 80 || s.GetEnvironment()["TERM"] != "vt220" {
		t.Errorf("got %v", s)
	}
	a = newAgent(t)
	u = atTerminal(t, a, "run", "-T", "-f", writeOrder(t, webOrder))
	u.types("quit\n")
	u.ends(7)
	if s := a.orders()[0].(*dynodv1.StartDynoRequest).GetSpec(); s.GetAttach().GetTerminal() || s.GetEnvironment()["TERM"] != "" {
		t.Errorf("got %v", s)
	}
}
