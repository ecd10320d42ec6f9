package e2e_test

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/containerd/console"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"

	dynodv1 "github.com/dynod/dynod/proto/dynod/v1"
	"github.com/dynod/dynod/test/lab"
	"github.com/dynod/dynod/test/rig"
)

// attached makes an order one of an attached dyno.
func attached(terminal bool) func(*dynodv1.StartDynoRequest) {
	return func(o *dynodv1.StartDynoRequest) {
		o.Spec.OneOff = true
		o.Spec.Attach = &dynodv1.AttachRequest{Terminal: terminal, Size: &dynodv1.WindowSize{Rows: 24, Columns: 80}}
	}
}

// client is the test as a client of an attached dyno.
type client struct {
	t      *testing.T
	stream dynodv1.AgentService_AttachDynoClient
	text   string // output not looked at yet
}

func (s *stage) attach(id string) *client {
	s.t.Helper()
	stream, err := s.API().AttachDyno(s.t.Context())
	s.check(err)
	s.check(stream.Send(&dynodv1.AttachDynoRequest{Message: &dynodv1.AttachDynoRequest_DynoId{DynoId: id}}))
	return &client{t: s.t, stream: stream}
}

// sees waits for a line of output.
func (c *client) sees(line string) {
	c.t.Helper()
	for {
		if _, after, found := strings.Cut(c.text, line); found {
			c.text = after
			return
		}
		m, err := c.stream.Recv()
		if err != nil {
			c.t.Fatalf("%q never came, but %q, %v", line, c.text, err)
		}
		c.text += string(m.GetOutput())
	}
}

func (c *client) says(m *dynodv1.AttachDynoRequest) {
	c.t.Helper()
	if err := c.stream.Send(m); err != nil {
		c.t.Fatal(err)
	}
}

func (c *client) types(text string) {
	c.t.Helper()
	c.says(&dynodv1.AttachDynoRequest{Message: &dynodv1.AttachDynoRequest_Stdin{Stdin: []byte(text)}})
}

// rest is all further output, and the exit.
func (c *client) rest() (string, *dynodv1.Exit) {
	c.t.Helper()
	for {
		m, err := c.stream.Recv()
		if err != nil {
			c.t.Fatalf("after %q: %v", c.text, err)
		}
		if m.GetExit() != nil {
			return c.text, m.GetExit()
		}
		c.text += string(m.GetOutput())
	}
}

func TestAttachedSessions(t *testing.T) {
	s := open(t, "[attach]\nrendezvous_ca = \"$DIR/certs/ca.pem\"\n")

	// A terminal: its size, a resize, input, and code 7.
	s.start(s.order(1, "run.1", `stty size; trap 'stty size' WINCH; echo "$TERM" $DYNO; while read line; do echo "got $line"; [ "$line" = end ] && exit 7; done`, attached(true)))
	c := s.attach(id(1)) // at once: it waits until the dyno is ready
	c.sees("24 80\r\n")
	c.sees("xterm run.1\r\n")
	c.says(&dynodv1.AttachDynoRequest{Message: &dynodv1.AttachDynoRequest_Resize{Resize: &dynodv1.WindowSize{Rows: 30, Columns: 100}}})
	c.types("first\n")
	c.sees("30 100\r\n")
	c.sees("got first\r\n")
	c.types("end\n")
	if _, exit := c.rest(); exit.GetCode() != 7 {
		t.Errorf("exit: %v", exit)
	}
	if out := s.output(id(1), "stdout", "State changed from up to complete"); len(out) != 0 {
		t.Errorf("the client's output is in the log: %q", out)
	}
	if got, want := s.output(id(1), "platform", "to complete"), []string{"Awaiting client", "Process exited with status 7", "State changed from up to complete"}; got[0] != want[0] || !slices.Equal(got[len(got)-2:], want[1:]) || !strings.HasPrefix(got[1], "Starting process with command") {
		t.Errorf("lines: %q", got)
	}

	// Without a terminal: the end of input, binary bytes, and a signal for all.
	s.start(s.order(2, "run.2", `trap 'exit 9' USR1; cat; echo done >&2; while :; do sleep 0.05; done`, attached(false)))
	c = s.attach(id(2))
	c.types("\x00\x03\x04bytes\n")
	c.says(&dynodv1.AttachDynoRequest{Message: &dynodv1.AttachDynoRequest_StdinEnd{StdinEnd: &dynodv1.StdinEnd{}}})
	c.sees("\x00\x03\x04bytes\n")
	c.sees("done\n")
	_, err := s.attach(id(2)).stream.Recv()
	if status.Code(err) != codes.FailedPrecondition {
		t.Errorf("a second client: %v", err)
	}
	c.says(&dynodv1.AttachDynoRequest{Message: &dynodv1.AttachDynoRequest_Signal{Signal: int32(syscall.SIGUSR1)}})
	if _, exit := c.rest(); exit.GetCode() != 9 {
		t.Errorf("exit: %v", exit)
	}

	// Much output to a client that is slow at first, none of it lost.
	s.start(s.order(3, "run.3", `head -c 20000000 /dev/zero | tr '\0' x; exit 3`, attached(false)))
	c = s.attach(id(3))
	time.Sleep(200 * time.Millisecond) // slow, that is
	if text, exit := c.rest(); len(text) != 20000000 || exit.GetCode() != 3 {
		t.Errorf("%d bytes, exit %v", len(text), exit)
	}

	s.rendezvous(4)
	s.stopWhileAwaiting(5)
}

// rendezvous has the agent dial a client that waits outside.
func (s *stage) rendezvous(n int) {
	s.t.Helper()
	cert, err := tls.LoadX509KeyPair(filepath.Join(s.Lab.Dir(), "certs/plane.pem"), filepath.Join(s.Lab.Dir(), "certs/plane-key.pem"))
	s.check(err)
	var plain net.Listener
	s.check(s.Lab.Do(s.Lab.Outside(), func() (err error) {
		plain, err = net.Listen("tcp", lab.OutsideAddress+":0")
		return err
	}))
	lis := tls.NewListener(plain, &tls.Config{Certificates: []tls.Certificate{cert}})
	defer lis.Close()
	const secret = "the-secret-of-this-rendezvous"
	s.start(s.order(n, "run.4", `read x; echo "heard $x"; exit 5`, attached(false), func(o *dynodv1.StartDynoRequest) {
		o.Spec.Attach.RendezvousUrl = fmt.Sprintf("rendezvous://%s/%s", lis.Addr(), secret)
	}))
	conn, err := lis.Accept()
	s.check(err)
	defer conn.Close()
	in := bufio.NewReader(conn)
	line, err := in.ReadString('\n')
	if err != nil || line != secret+"\r\n" {
		s.t.Errorf("the agent says %q, %v", line, err)
	}
	_, err = conn.Write([]byte("something\n"))
	s.check(err)
	if rest, err := io.ReadAll(in); string(rest) != "heard something\n" || err != nil {
		s.t.Errorf("got %q, %v", rest, err)
	}
	if d := s.await(id(n), complete); d.GetExit().GetCode() != 5 {
		s.t.Errorf("exit: %v", d.GetExit())
	}
	log, err := os.ReadFile(filepath.Join(s.Lab.Dir(), "agent.log"))
	if err != nil || strings.Contains(string(log), secret) {
		s.t.Errorf("the secret is in the log, or %v", err)
	}
}

func (s *stage) stopWhileAwaiting(n int) {
	s.t.Helper()
	s.start(s.order(n, "run.5", "true", attached(false)))
	s.output(id(n), "platform", "Awaiting client")
	begun := time.Now()
	s.stop(id(n))
	s.await(id(n), down)
	within(s.t, 2*time.Second, "stop of a dyno that awaits its client", begun)
}

// What follows when a client is lost or never comes, over a kill of the agent: all of it at once, for it takes time.
func TestLostClients(t *testing.T) {
	s := open(t, "")
	const stubborn = `trap '' HUP; echo ready; while :; do sleep 1; done`
	s.start(s.order(1, "run.1", "true", attached(false))) // nobody comes
	s.output(id(1), "platform", "Awaiting client")
	lost := time.Now()
	for n, command := range map[int]string{2: stubborn, 3: `echo ready; sleep 1000`} {
		s.start(s.order(n, fmt.Sprintf("run.%d", n), command, attached(n == 2)))
		s.killClient(n)
	}
	if d := s.await(id(3), complete); d.GetExit().GetCode() != 129 {
		t.Errorf("a dyno that heeds SIGHUP: %v", d.GetExit())
	}
	if got := s.output(id(3), "platform", "to complete"); !slices.Contains(got, "Client connection closed. Sending SIGHUP to all processes") {
		t.Errorf("got %q", got)
	}
	s.start(s.order(4, "run.4", `echo ready; sleep 1000`, attached(false))) // its client is lost with the agent
	c := s.attach(id(4))
	c.sees("ready\n")
	time.Sleep(time.Until(lost.Add(6 * time.Second))) // in the middle of both clocks
	s.check(s.KillAgent())
	if _, err := c.stream.Recv(); status.Code(err) != codes.Unavailable {
		t.Errorf("the client of an agent that is killed: %v", err)
	}
	s.check(s.StartAgent(t.Context()))
	if d := s.await(id(4), complete); d.GetExit().GetCode() != 129 || d.GetLives() != 1 {
		t.Errorf("a dyno whose client was lost with the agent: %v", d)
	}

	const r16 = "Error R16 (Detached) -> An attached process is not responding to SIGHUP after its external connection was closed."
	s.apart(2, "Client connection closed. Sending SIGHUP to all processes", r16, 15*time.Second)
	if d := s.await(id(2), up); d.GetPid() == 0 {
		t.Errorf("a dyno that does not heed SIGHUP: %v", d)
	}
	s.stop(id(2))
	s.await(id(2), down)

	s.apart(1, "Awaiting client", "Error R13 (Attach error) -> Failed to attach to process", 30*time.Second)
	if d := s.await(id(1), complete); d.GetExit().GetErrorCode() != "R13" || d.GetExit().GetCode() != 137 || d.GetLives() != 0 {
		t.Errorf("nobody came: %v", d)
	}
}

// killClient attaches dynoctl to a dyno, and kills it once the command runs.
func (s *stage) killClient(n int) {
	s.t.Helper()
	cmd := s.CtlCommand("attach", id(n))
	out, err := cmd.StdoutPipe()
	s.check(err)
	_, err = cmd.StdinPipe() // stays open
	s.check(err)
	s.check(cmd.Start())
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || strings.TrimSpace(line) != "ready" {
		s.t.Errorf("got %q, %v", line, err)
	}
	s.check(cmd.Process.Kill())
	_ = cmd.Wait()
}

// apart checks the time between two lines of the platform.
func (s *stage) apart(n int, first, second string, want time.Duration) {
	s.t.Helper()
	lines, err := s.AwaitLine(s.t.Context(), id(n), second)
	s.check(err)
	var from, to time.Time
	for _, l := range lines {
		switch l.Text {
		case first:
			from = l.Time
		case second:
			to = l.Time
		}
	}
	if got := to.Sub(from); got < want || got > want+2*time.Second {
		s.t.Errorf("%q came %s after %q, want %s", second, got, first, want)
	}
}

func TestExecSessions(t *testing.T) {
	s := open(t, "")
	dyno := s.start(s.order(1, "worker.1", "./web worker", env("GREETING", "hello there")))
	image := s.order(2, "worker.2", "", env("GREETING", "from an image"))
	image.Spec.Artifact = &dynodv1.Artifact{Kind: &dynodv1.Artifact_Image{Image: &dynodv1.ImageArtifact{Reference: must(lab.SmallStack(t.Context()))(t)}}}
	image.Spec.Command = &dynodv1.Command{Words: []string{"/bin/sleep", "1000"}}
	s.start(image)
	d := s.await(dyno, up)
	s.await(id(2), up)
	execIn := func(dyno string, args ...string) (string, int) {
		t.Helper()
		cmd := s.CtlCommand(append([]string{"exec", dyno}, args...)...)
		var bad strings.Builder
		cmd.Stderr = &bad
		out, err := cmd.Output()
		if bad.Len() > 0 {
			t.Logf("%q: %s", args, bad.String())
		}
		var exit *execExit
		if err != nil && !errors.As(err, &exit) {
			t.Fatal(err)
		}
		return string(out), cmd.ProcessState.ExitCode()
	}
	exec := func(args ...string) (string, int) { t.Helper(); return execIn(dyno, args...) }
	if out, code := exec("sh", "-c", `echo $GREETING $DYNO; pwd; id -u; exit 7`); out != "hello there worker.1\n/app\n1000\n" || code != 7 {
		t.Errorf("got %q, code %d", out, code)
	}
	inside, _ := exec("cat", "/proc/self/cgroup")
	if own, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", d.GetPid())); err != nil || inside == "" || !strings.Contains(string(own), dyno) {
		t.Errorf("cgroup inside %q, of the dyno %q, %v", inside, own, err)
	}
	if limits, _ := exec("sh", "-c", "ulimit -n; ulimit -c; grep -E '^(CapEff|NoNewPrivs|Seccomp):' /proc/self/status | tr -d '\\t'"); !strings.HasSuffix(limits, "0\nCapEff:0000000000000000\nNoNewPrivs:1\nSeccomp:2\n") {
		t.Errorf("got %q", limits)
	}
	if out, code := exec("no-such-command"); out != "" || code != 127 {
		t.Errorf("got %q, code %d", out, code)
	}

	// The agent is killed under a session: its command gets SIGHUP, the dyno lives on, and the next agent serves.
	cmd := s.CtlCommand("exec", dyno, "sh", "-c", `echo ready; sleep 1000`)
	out, err := cmd.StdoutPipe()
	s.check(err)
	s.check(cmd.Start())
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || line != "ready\n" {
		t.Errorf("got %q, %v", line, err)
	}
	s.check(s.KillAgent())
	_ = cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); code != 125 {
		t.Errorf("dynoctl without its agent: code %d", code)
	}
	s.check(s.StartAgent(t.Context()))
	s.check(rig.Await(t.Context(), "the command to end", func() (bool, error) {
		list, code := exec("sh", "-c", "ps | grep -c '[s]leep 1000'")
		return code == 1 && list == "0\n", nil
	}))
	if again := s.await(dyno, up); again.GetPid() != d.GetPid() || again.GetLives() != 1 {
		t.Errorf("it was process %d: %v", d.GetPid(), again)
	}
	if out, code := execIn(id(2), "sh", "-c", "echo $GREETING $DYNO; pwd"); out != "from an image worker.2\n/\n" || code != 0 {
		t.Errorf("in an image, under the next agent: %q, code %d", out, code)
	}
	s.audited("ExecDyno", dyno, `\"no-such-command\"`)
	s.stop(dyno)
	s.await(dyno, down)
	if _, code := exec("true"); code != 125 {
		t.Errorf("exec in a dyno that has ended: code %d", code)
	}
}

type execExit = exec.ExitError

// audited checks that the agent's log tells of a session.
func (s *stage) audited(method, dyno, command string) {
	s.t.Helper()
	log, err := os.ReadFile(filepath.Join(s.Lab.Dir(), "agent.log"))
	s.check(err)
	for line := range strings.Lines(string(log)) {
		if strings.Contains(line, `"msg":"session"`) && strings.Contains(line, method) && strings.Contains(line, dyno) && strings.Contains(line, command) && strings.Contains(line, "unix:uid=0") {
			return
		}
	}
	s.t.Errorf("no line of %s in %s with %s", method, dyno, command)
}

// dynoctl at a terminal, as a person sits there.
func TestDynoctlOnATerminal(t *testing.T) {
	s := open(t, "")
	order, err := protojson.Marshal(s.order(1, "web.1", "./web web"))
	s.check(err)
	file := must(s.OrderFile("run", order))(t)

	u := s.terminal("run", "-f", file, "stty size; cat")
	u.sees("24 80")
	u.types("hello\r")
	u.sees("hello")
	u.types("\x04") // end of input
	u.ends(0)

	worker := s.start(s.order(2, "worker.1", "./web worker"))
	s.await(worker, up)
	u = s.terminal("exec", worker)
	u.types("echo $((40+2)) $DYNO\r")
	u.sees("42 worker.1")
	s.check(u.pty.Resize(console.WinSize{Height: 30, Width: 100}))
	s.check(rig.Await(t.Context(), "the resize", func() (bool, error) {
		u.types("stty size\r")
		return u.maybeSees("30 100"), nil
	}))
	u.types(`sh -c "echo n''ow; sleep 1000"` + "\r") // an interactive shell's own child may lose a signal before it executes sleep
	u.sees("now")
	u.types("\x03") // ends the sleep, not the session
	u.types("exit 7\r")
	u.ends(7)

	id := strings.TrimSpace(must(s.Ctl(t.Context(), "run:detached", "-f", file, "--", "sh", "-c", "exit 4"))(t))
	cmd := s.CtlCommand("wait", id)
	if out, err := cmd.Output(); cmd.ProcessState.ExitCode() != 4 {
		t.Errorf("wait: %q, %v", out, err)
	}
}

// person is dynoctl on a terminal.
type person struct {
	t    *testing.T
	pty  console.Console
	cmd  *exec.Cmd
	text chan string
	seen string
}

func (s *stage) terminal(args ...string) *person {
	s.t.Helper()
	pty, name, err := console.NewPty()
	s.check(err)
	s.check(pty.Resize(console.WinSize{Height: 24, Width: 80}))
	slave, err := os.OpenFile(name, os.O_RDWR|syscall.O_NOCTTY, 0)
	s.check(err)
	defer slave.Close()
	p := &person{t: s.t, pty: pty, cmd: s.CtlCommand(args...), text: make(chan string, 1024)}
	p.cmd.Stdin, p.cmd.Stdout, p.cmd.Stderr = slave, slave, slave
	p.cmd.SysProcAttr.Setctty = true
	s.check(p.cmd.Start())
	s.t.Cleanup(func() { _ = pty.Close() })
	go func() {
		defer close(p.text)
		buffer := make([]byte, 1<<16)
		for {
			n, err := pty.Read(buffer)
			if err != nil {
				return
			}
			p.text <- string(buffer[:n])
		}
	}()
	return p
}

// maybeSees says whether the text comes within a moment.
func (p *person) maybeSees(text string) bool {
	for moment := time.After(500 * time.Millisecond); !strings.Contains(p.seen, text); {
		select {
		case more, ok := <-p.text:
			if !ok {
				return false
			}
			p.seen += more
		case <-moment:
			return false
		}
	}
	_, p.seen, _ = strings.Cut(p.seen, text)
	return true
}

func (p *person) sees(text string) {
	p.t.Helper()
	if err := rig.Await(p.t.Context(), fmt.Sprintf("%q on the terminal", text), func() (bool, error) { return p.maybeSees(text), nil }); err != nil {
		p.t.Fatalf("%v; there is %q", err, p.seen)
	}
}

func (p *person) types(keys string) {
	p.t.Helper()
	if _, err := p.pty.Write([]byte(keys)); err != nil {
		p.t.Fatal(err)
	}
}

func (p *person) ends(code int) {
	p.t.Helper()
	late := time.AfterFunc(30*time.Second, func() { _ = p.cmd.Process.Kill() })
	defer late.Stop()
	_ = p.cmd.Wait()
	for len(p.text) > 0 {
		p.seen += <-p.text
	}
	if got := p.cmd.ProcessState.ExitCode(); got != code {
		p.t.Errorf("code %d, want %d; the terminal ends with %q", got, code, p.seen)
	}
}
