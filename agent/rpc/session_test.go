package rpc_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"

	"github.com/dynod/dynod/agent"
	"github.com/dynod/dynod/agent/agenttest"
	"github.com/dynod/dynod/agent/dyno"
	dynodv1 "github.com/dynod/dynod/proto/dynod/v1"
	"github.com/dynod/dynod/runtime"
)

type (
	attachStream = grpc.BidiStreamingClient[dynodv1.AttachDynoRequest, dynodv1.AttachDynoResponse]
	execStream   = grpc.BidiStreamingClient[dynodv1.ExecDynoRequest, dynodv1.ExecDynoResponse]
)

func attachedOrder(id string, terminal bool) *dynodv1.StartDynoRequest {
	o := order(id, "run.1")
	o.Spec.OneOff, o.Spec.Attach = true, &dynodv1.AttachRequest{Terminal: terminal}
	return o
}

// attach opens a session with a dyno; the first answer may still be far.
func (h *host) attach(ctx context.Context, id string) attachStream {
	h.t.Helper()
	stream, err := h.AttachDyno(ctx)
	if err == nil {
		err = stream.Send(&dynodv1.AttachDynoRequest{Message: &dynodv1.AttachDynoRequest_DynoId{DynoId: id}})
	}
	if err != nil {
		h.t.Fatal(err)
	}
	return stream
}

// served attaches to a dyno, and is its command's far side when that has started.
func (h *host) served(ctx context.Context, id string) (attachStream, *agenttest.Command) {
	h.t.Helper()
	stream := h.attach(ctx, id)
	m, err := stream.Recv()
	if err != nil || m.GetStarted() == nil {
		h.t.Fatalf("first answer: %v %v", m, err)
	}
	return stream, h.runtime.Command(id)
}

func (h *host) exec(ctx context.Context, start *dynodv1.ExecStart) (execStream, *agenttest.Process) {
	h.t.Helper()
	before := len(h.runtime.Execs())
	stream, err := h.ExecDyno(ctx)
	if err == nil {
		err = stream.Send(&dynodv1.ExecDynoRequest{Message: &dynodv1.ExecDynoRequest_Start{Start: start}})
	}
	if err != nil {
		h.t.Fatal(err)
	}
	eventually(h.t, "the command", func() bool { return len(h.runtime.Execs()) > before })
	return stream, h.runtime.Execs()[before]
}

func send[In any](t *testing.T, stream interface{ Send(In) error }, messages ...In) {
	t.Helper()
	for _, m := range messages {
		if err := stream.Send(m); err != nil {
			t.Fatal(err)
		}
	}
}

func input(text string) *dynodv1.AttachDynoRequest {
	return &dynodv1.AttachDynoRequest{Message: &dynodv1.AttachDynoRequest_Stdin{Stdin: []byte(text)}}
}

func resize(rows, columns uint32) *dynodv1.AttachDynoRequest {
	return &dynodv1.AttachDynoRequest{Message: &dynodv1.AttachDynoRequest_Resize{Resize: &dynodv1.WindowSize{Rows: rows, Columns: columns}}}
}

func signalled(number int32) *dynodv1.AttachDynoRequest {
	return &dynodv1.AttachDynoRequest{Message: &dynodv1.AttachDynoRequest_Signal{Signal: number}}
}

var inputEnd = &dynodv1.AttachDynoRequest{Message: &dynodv1.AttachDynoRequest_StdinEnd{StdinEnd: &dynodv1.StdinEnd{}}}

// rest reads a session to its end: its output, and the exit, which is last.
func rest(t *testing.T, stream attachStream) (output string, exit *dynodv1.Exit) {
	t.Helper()
	for {
		m, err := stream.Recv()
		switch {
		case errors.Is(err, io.EOF):
			return output, exit
		case err != nil:
			t.Fatalf("after %.80q: %v", output, err)
		case exit != nil:
			t.Fatalf("after the exit: %v", m)
		}
		if len(m.GetOutput()) > 32<<10 {
			t.Errorf("a message of %d bytes", len(m.GetOutput()))
		}
		output += string(m.GetOutput())
		exit = m.GetExit()
	}
}

func reads(t *testing.T, from io.Reader, want string) {
	t.Helper()
	got := make([]byte, len(want))
	if _, err := io.ReadFull(from, got); err != nil || string(got) != want {
		t.Errorf("the command reads %q, %v; want %q", got, err, want)
	}
}

func TestAttachWithTerminal(t *testing.T) {
	h := newHost(t)
	release := h.runtime.Hold("Prepare")
	h.start(attachedOrder(first, true))
	stream := h.attach(limited(t), first) // long before it is ready
	send(t, stream, resize(7, 9))
	release()
	if m, err := stream.Recv(); err != nil || m.GetStarted() == nil {
		t.Fatalf("first answer: %v %v", m, err)
	}
	h.phase(first, dyno.Up)
	command := h.runtime.Command(first)
	eventually(t, "the first size", func() bool {
		size, err := command.Size()
		return err == nil && size == (runtime.WindowSize{Rows: 7, Columns: 9})
	})
	send(t, stream, resize(24, 132), signalled(10), input("hello\n"), inputEnd)
	eventually(t, "the next size", func() bool {
		size, err := command.Size()
		return err == nil && size == (runtime.WindowSize{Rows: 24, Columns: 132})
	})
	reads(t, command.Stdin, "hello\n")
	if n, err := command.Stdin.Read(make([]byte, 1)); n != 0 || !errors.Is(err, io.EOF) {
		t.Errorf("after the end: %d bytes, %v", n, err)
	}
	eventually(t, "the signal", func() bool { return slices.Equal(h.runtime.Signals(first), []syscall.Signal{syscall.SIGUSR1}) })
	_, _ = command.Stdout.WriteString("bye\n")
	h.runtime.Exit(first, runtime.Exit{Code: 7})
	if output, exit := rest(t, stream); !strings.HasSuffix(output, "bye\r\n") || exit.GetCode() != 7 {
		t.Errorf("output %q, exit %v", output, exit)
	}
	if lines := strings.Join(h.logs.Lines(first), "\n"); strings.Contains(lines, "Client connection closed") {
		t.Errorf("a session that ended well: %s", lines)
	}
}

func TestAttachWithoutTerminal(t *testing.T) {
	for name, end := range map[string]func(attachStream) error{
		"stdin_end": func(s attachStream) error { return s.Send(inputEnd) }, "half close": attachStream.CloseSend,
	} {
		t.Run(name, func(t *testing.T) {
			h := newHost(t)
			h.start(attachedOrder(first, false))
			stream, command := h.served(limited(t), first)
			send(t, stream, input("some "), input("input"))
			if err := end(stream); err != nil {
				t.Fatal(err)
			}
			if got, err := io.ReadAll(command.Stdin); string(got) != "some input" || err != nil {
				t.Errorf("the command reads %q, %v", got, err)
			}
			_, _ = command.Stderr.WriteString("both in one")
			h.runtime.Exit(first, runtime.Exit{Code: 143, Signal: 15})
			if output, exit := rest(t, stream); output != "both in one" || exit.GetCode() != 143 || exit.GetSignal() != 15 {
				t.Errorf("output %q, exit %v", output, exit)
			}
		})
	}
}

func TestRefusedAttaches(t *testing.T) {
	h := newHost(t)
	refused := func(id string, want codes.Code) {
		t.Helper()
		wantCode(t, received(h.attach(limited(t), id)), want)
	}
	refused(first, codes.NotFound)
	h.start(order(first, "worker.1"))
	refused(first, codes.FailedPrecondition)
	h.start(attachedOrder(second, false))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	stream, _ := h.served(ctx, second)
	refused(second, codes.FailedPrecondition) // it has its client
	h.runtime.Deaf()
	cancel()
	wantCode(t, received(stream), codes.Canceled)
	h.await(second, func(s agent.Status) bool { return !s.Client.Left.IsZero() })
	refused(second, codes.FailedPrecondition) // it had one
	h.start(fullAttach(third))
	refused(third, codes.FailedPrecondition) // its client comes by rendezvous
	if got := h.runtime.Signals(second); !slices.Contains(got, syscall.SIGHUP) {
		t.Errorf("signals of an abandoned dyno: %v", got)
	}
}

func TestWhatCannotBeMeantHangsUp(t *testing.T) {
	for name, m := range map[string]*dynodv1.AttachDynoRequest{"SIGKILL": signalled(9), "no signal": signalled(65), "size": resize(1, 1<<16)} {
		t.Run(name, func(t *testing.T) {
			h := newHost(t)
			h.start(attachedOrder(first, false))
			stream, _ := h.served(limited(t), first)
			send(t, stream, m)
			wantCode(t, received(stream), codes.InvalidArgument)
			if s := h.phase(first, dyno.Complete); s.Exit.Code != 129 {
				t.Errorf("exit: %+v", s.Exit)
			}
		})
	}
	h := newHost(t)
	o := attachedOrder(first, true)
	o.Spec.Attach.Size = &dynodv1.WindowSize{Rows: 1 << 16}
	_, err := h.StartDyno(limited(t), o)
	wantViolations(t, err, "spec.attach.size")
}

// A client that does not read stops the command, nobody else, and gets every byte in the end.
func TestSlowClient(t *testing.T) {
	h := newHost(t)
	h.start(attachedOrder(first, false))
	stream, command := h.served(limited(t), first)
	const size = 4 << 20
	written := make(chan error, 1)
	go func() {
		_, err := command.Stdout.Write(bytes.Repeat([]byte("0123456789abcdef"), size/16))
		written <- err
	}()
	h.start(order(second, "worker.1"))
	h.phase(second, dyno.Up)
	select {
	case err := <-written:
		t.Errorf("more was taken than the client has read, %v", err)
	default:
	}
	go func() {
		if err := next(t, "end of writing", written); err != nil {
			t.Error(err)
		}
		h.runtime.Exit(first, runtime.Exit{})
	}()
	output, exit := rest(t, stream)
	if len(output) != size || strings.Trim(output, "0123456789abcdef") != "" || exit.GetCode() != 0 {
		t.Errorf("%d bytes, exit %v", len(output), exit)
	}
}

// A signal that does not arrive, as while containerd is busy, leaves the session as it is.
func TestSignalThatDoesNotArrive(t *testing.T) {
	h := newHost(t)
	h.start(attachedOrder(first, false))
	stream, command := h.served(limited(t), first)
	h.runtime.Fail("Signal", errdefs.ErrUnavailable)
	send(t, stream, signalled(10), input("more"))
	reads(t, command.Stdin, "more")
	h.runtime.Fail("Signal", nil)
	h.runtime.Exit(first, runtime.Exit{Code: 7})
	if _, exit := rest(t, stream); exit.GetCode() != 7 {
		t.Errorf("exit %v", exit)
	}
}

func TestAgentLeavesASession(t *testing.T) {
	h := newHost(t)
	h.start(attachedOrder(first, false))
	h.start(order(second, "worker.1"))
	h.phase(second, dyno.Up)
	attached, _ := h.served(limited(t), first)
	executed, process := h.exec(limited(t), &dynodv1.ExecStart{DynoId: second})
	h.leave()
	wantCode(t, received(attached), codes.Unavailable)
	wantCode(t, received(executed), codes.Unavailable)
	wait(t, "the hang-up", process.Closed())
}

func TestExecApart(t *testing.T) {
	h := newHost(t)
	h.start(order(first, "worker.1"))
	h.phase(first, dyno.Up)
	stream, process := h.exec(limited(t), &dynodv1.ExecStart{DynoId: first, Command: []string{"ls", "-l"}})
	send(t, stream, &dynodv1.ExecDynoRequest{Message: &dynodv1.ExecDynoRequest_Stdin{Stdin: []byte("in")}},
		&dynodv1.ExecDynoRequest{Message: &dynodv1.ExecDynoRequest_Signal{Signal: 2}},
		&dynodv1.ExecDynoRequest{Message: &dynodv1.ExecDynoRequest_StdinEnd{StdinEnd: &dynodv1.StdinEnd{}}})
	if got, err := io.ReadAll(process.Stdin); string(got) != "in" || err != nil {
		t.Errorf("the command reads %q, %v", got, err)
	}
	if got := process.Signals(); !slices.Equal(got, []syscall.Signal{syscall.SIGINT}) {
		t.Errorf("signals: %v", got)
	}
	_, _ = process.Stdout.WriteString("out")
	_, _ = process.Stderr.WriteString("err")
	process.Exit(5)
	if out, bad, exit := execRest(t, stream); out != "out" || bad != "err" || exit.GetCode() != 5 {
		t.Errorf("%q %q %v", out, bad, exit)
	}
	if got := h.runtime.Signals(first); len(got) != 0 {
		t.Errorf("the dyno itself got %v", got)
	}
}

func execRest(t *testing.T, stream execStream) (out, bad string, exit *dynodv1.Exit) {
	t.Helper()
	messages, err := all[dynodv1.ExecDynoResponse](stream)
	if err != nil {
		t.Fatal(err)
	}
	for i, m := range messages {
		out += string(m.GetStdout())
		bad += string(m.GetStderr())
		if exit = m.GetExit(); exit != nil && i != len(messages)-1 {
			t.Error("the exit is not last")
		}
	}
	return out, bad, exit
}

// A process that a command leaves behind with its output does not keep the caller.
func TestExecLeavesSomethingBehind(t *testing.T) {
	h := newHost(t)
	h.start(order(first, "worker.1"))
	h.phase(first, dyno.Up)
	stream, process := h.exec(limited(t), &dynodv1.ExecStart{DynoId: first, Terminal: true})
	_, _ = process.Stdout.WriteString("out")
	if m, err := stream.Recv(); err != nil || string(m.GetStdout()) != "out" {
		t.Errorf("got %v %v", m, err)
	}
	process.Leave(3)
	if out, _, exit := execRest(t, stream); out != "" || exit.GetCode() != 3 {
		t.Errorf("%q %v", out, exit)
	}
	wait(t, "the hang-up", process.Closed())
}

func TestExecIsRefused(t *testing.T) {
	h := newHost(t)
	refused := func(m *dynodv1.ExecDynoRequest, want codes.Code) {
		t.Helper()
		stream, err := h.ExecDyno(limited(t))
		if err == nil {
			err = stream.Send(m)
		}
		if err != nil {
			t.Fatal(err)
		}
		wantCode(t, received(stream), want)
	}
	start := func(s *dynodv1.ExecStart) *dynodv1.ExecDynoRequest {
		return &dynodv1.ExecDynoRequest{Message: &dynodv1.ExecDynoRequest_Start{Start: s}}
	}
	refused(&dynodv1.ExecDynoRequest{Message: &dynodv1.ExecDynoRequest_Signal{Signal: 1}}, codes.InvalidArgument)
	refused(start(&dynodv1.ExecStart{DynoId: first}), codes.NotFound)
	h.start(attachedOrder(first, false))
	refused(start(&dynodv1.ExecStart{DynoId: first}), codes.FailedPrecondition) // it awaits its client
	refused(start(&dynodv1.ExecStart{DynoId: first, Size: &dynodv1.WindowSize{Columns: 1 << 16}}), codes.InvalidArgument)
	h.start(order(second, "worker.1"))
	h.phase(second, dyno.Up)
	ctx, cancel := context.WithCancel(t.Context())
	stream, process := h.exec(ctx, &dynodv1.ExecStart{DynoId: second})
	cancel()
	wait(t, "the hang-up", process.Closed())
	wantCode(t, received(stream), codes.Canceled)
	stream, process = h.exec(limited(t), &dynodv1.ExecStart{DynoId: second})
	process.Lose()
	wantCode(t, received(stream), codes.Aborted)
}

func TestSessionsAreAudited(t *testing.T) {
	h := newHost(t)
	h.start(order(first, "worker.1"))
	h.phase(first, dyno.Up)
	stream, process := h.exec(limited(t), &dynodv1.ExecStart{DynoId: first, Terminal: true, Command: append([]string{"ls", "a\nb"}, slices.Repeat([]string{"x"}, 5000)...)})
	eventually(t, "the line of the beginning", func() bool { return strings.Contains(h.log.String(), `"msg":"session"`) })
	process.Exit(0)
	execRest(t, stream)
	h.start(attachedOrder(second, false))
	attached, _ := h.served(limited(t), second)
	h.runtime.Exit(second, runtime.Exit{})
	rest(t, attached)
	for method, id := range map[string]string{"ExecDyno": first, "AttachDyno": second} {
		eventually(t, "the line of the end", func() bool { return len(h.audited(method)) == 1 })
		if end := h.audited(method)[0]; end["dyno"] != id || end["code"] != "OK" || end["level"] != "INFO" {
			t.Errorf("%s: %v", method, end)
		}
	}
	for line := range strings.Lines(h.log.String()) {
		if !strings.Contains(line, `"msg":"session"`) {
			continue
		}
		if len(line) > 2000 || !strings.Contains(line, "unix:uid=") {
			t.Errorf("got %d bytes: %s", len(line), line)
		}
		exec := strings.Contains(line, `"dyno":"`+first) && strings.Contains(line, `"terminal":true`) && strings.Contains(line, `\"ls\" \"a\\nb\"`)
		if !exec && !strings.Contains(line, `"dyno":"`+second) {
			t.Errorf("got %s", line)
		}
	}
}

func TestRendezvous(t *testing.T) {
	h := newHost(t)
	o := fullAttach(first)
	o.Spec.Attach.Terminal = false
	h.start(o)
	client := next(t, "client", h.meet.Clients)
	h.phase(first, dyno.Up)
	command := h.runtime.Command(first)
	go func() { _, _ = client.Write([]byte("in")) }()
	reads(t, command.Stdin, "in")
	_ = command.Stdin.Close()
	for range 2 { // what it does not take is no reason to hang up
		if _, err := client.Write([]byte("more")); err != nil {
			t.Errorf("input that the command does not take: %v", err)
		}
	}
	_, _ = command.Stdout.WriteString("the last words")
	h.runtime.Exit(first, runtime.Exit{Code: 3})
	h.phase(first, dyno.Complete) // whether the client reads or not
	if got, err := io.ReadAll(client); string(got) != "the last words" || err != nil {
		t.Errorf("got %q %v", got, err)
	}

	o = fullAttach(second)
	o.Spec.Attach.Terminal = false
	h.start(o)
	client = next(t, "client", h.meet.Clients)
	h.phase(second, dyno.Up)
	_ = client.Close()
	if s := h.phase(second, dyno.Complete); s.Exit.Code != 129 {
		t.Errorf("exit after the loss of the client: %+v", s.Exit)
	}
	if lines := h.logs.Lines(second); !slices.Contains(lines, dyno.LineHangUp) {
		t.Errorf("lines: %q", lines)
	}
	if strings.Contains(h.log.String(), "rendezvous.example") {
		t.Error("the URL is in the log")
	}
}

// The end of a client is seen behind input that its command does not take.
func TestRendezvousLostBehindItsInput(t *testing.T) {
	h := newHost(t)
	h.start(fullAttach(first))
	client := next(t, "client", h.meet.Clients)
	h.phase(first, dyno.Up)
	if err := client.SetWriteDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	if _, err := client.Write(bytes.Repeat([]byte("line\n"), 200_000)); err != nil {
		t.Error(err)
	}
	_ = client.Close()
	h.phase(first, dyno.Complete)
}

// A command that reads late gets all that was sent, more than is read ahead, in its order.
func TestRendezvousInputWaits(t *testing.T) {
	h := newHost(t)
	o := fullAttach(first)
	o.Spec.Attach.Terminal = false
	h.start(o)
	client := next(t, "client", h.meet.Clients)
	h.phase(first, dyno.Up)
	sent := make([]byte, 4<<20)
	for i := range sent {
		sent[i] = byte(i % 251)
	}
	go func() { _, _ = client.Write(sent) }()
	got := make([]byte, len(sent))
	if _, err := io.ReadFull(h.runtime.Command(first).Stdin, got); err != nil || !bytes.Equal(got, sent) {
		t.Errorf("not what was sent, or not all of it: %v", err)
	}
	h.runtime.Exit(first, runtime.Exit{})
	h.phase(first, dyno.Complete)
}

// unheard makes connections on which nothing can be sent, though nothing says that the client has left.
type unheard struct{ *agenttest.Rendezvous }

func (u unheard) Dial(ctx context.Context, url string) (io.ReadWriteCloser, error) {
	conn, err := u.Rendezvous.Dial(ctx, url)
	return refusing{conn}, err
}

type refusing struct{ io.ReadWriteCloser }

func (refusing) Write([]byte) (int, error) { return 0, syscall.ECONNRESET }

func TestRendezvousThatTakesNoOutput(t *testing.T) {
	h := newHost(t, func(h *host) { h.parts.Rendezvous = unheard{h.meet} })
	h.start(fullAttach(first))
	h.phase(first, dyno.Up)
	_, _ = h.runtime.Command(first).Stdout.WriteString("output")
	if s := h.phase(first, dyno.Complete); s.Exit.Code != 129 {
		t.Errorf("exit after the loss of the client: %+v", s.Exit)
	}
}
