package main_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	dynodv1 "github.com/dynod/dynod/proto/dynod/v1"
)

// conversation is a command as the fake agent has it: it says what it hears, and ends with status 7 at the end of its
// input or when it hears "quit".
type conversation struct {
	out    func(string) error
	errOut func(string) error
	exit   func(*dynodv1.Exit) error
}

// message is what both kinds of requests have.
type message interface {
	GetStdin() []byte
	GetResize() *dynodv1.WindowSize
	GetStdinEnd() *dynodv1.StdinEnd
	GetSignal() int32
}

// hear answers one message; done says that the command has ended.
func (c conversation) hear(m message) (done bool, err error) {
	const seven = 7
	switch {
	case m.GetStdinEnd() != nil:
		return true, errors.Join(c.errOut("eof\n"), c.exit(&dynodv1.Exit{Code: seven}))
	case m.GetResize() != nil:
		return false, c.out(fmt.Sprintf("size %d %d\n", m.GetResize().GetRows(), m.GetResize().GetColumns()))
	case m.GetSignal() != 0:
		return false, c.out(fmt.Sprintf("signal %d\n", m.GetSignal()))
	case strings.Contains(string(m.GetStdin()), "quit"):
		return true, c.exit(&dynodv1.Exit{Code: seven})
	case strings.Contains(string(m.GetStdin()), "lose"):
		return true, c.exit(&dynodv1.Exit{Code: -1, PlatformFailure: "shim killed"})
	case strings.Contains(string(m.GetStdin()), "succeed"):
		return true, c.exit(&dynodv1.Exit{})
	default:
		return false, c.out(fmt.Sprintf("heard %q\n", m.GetStdin()))
	}
}

func (a *agent) AttachDyno(stream grpc.BidiStreamingServer[dynodv1.AttachDynoRequest, dynodv1.AttachDynoResponse]) error {
	first, err := stream.Recv()
	if err != nil {
		return err
	}
	a.note(first)
	if a.now().refuse != nil {
		return a.now().refuse
	}
	if a.now().stay {
		<-stream.Context().Done()
		return stream.Context().Err()
	}
	output := func(text string) error {
		return stream.Send(&dynodv1.AttachDynoResponse{Message: &dynodv1.AttachDynoResponse_Output{Output: []byte(text)}})
	}
	c := conversation{output, output, func(e *dynodv1.Exit) error {
		return stream.Send(&dynodv1.AttachDynoResponse{Message: &dynodv1.AttachDynoResponse_Exit{Exit: e}})
	}}
	if err := stream.Send(&dynodv1.AttachDynoResponse{Message: &dynodv1.AttachDynoResponse_Started{Started: &dynodv1.AttachStarted{}}}); err != nil {
		return err
	}
	return talk(stream.Context(), a, c, stream.Recv)
}

func (a *agent) ExecDyno(stream grpc.BidiStreamingServer[dynodv1.ExecDynoRequest, dynodv1.ExecDynoResponse]) error {
	first, err := stream.Recv()
	if err != nil {
		return err
	}
	a.note(first)
	if a.now().refuse != nil {
		return a.now().refuse
	}
	c := conversation{
		func(text string) error {
			return stream.Send(&dynodv1.ExecDynoResponse{Message: &dynodv1.ExecDynoResponse_Stdout{Stdout: []byte(text)}})
		},
		func(text string) error {
			return stream.Send(&dynodv1.ExecDynoResponse{Message: &dynodv1.ExecDynoResponse_Stderr{Stderr: []byte(text)}})
		},
		func(e *dynodv1.Exit) error {
			return stream.Send(&dynodv1.ExecDynoResponse{Message: &dynodv1.ExecDynoResponse_Exit{Exit: e}})
		},
	}
	if err := c.out("ready\n"); err != nil {
		return err
	}
	return talk(stream.Context(), a, c, stream.Recv)
}

func talk[M message](ctx context.Context, a *agent, c conversation, recv func() (M, error)) error {
	for {
		m, err := recv()
		if errors.Is(err, io.EOF) {
			return status.Error(codes.Internal, "dynoctl half-closed the call")
		}
		if err != nil {
			if ctx.Err() != nil {
				a.hungUp()
			}
			return err
		}
		if done, err := c.hear(m); done || err != nil {
			return err
		}
	}
}

// hungUp keeps that a client left before its command had ended.
func (a *agent) hungUp() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.hangUps++
}

func (a *agent) SignalDyno(_ context.Context, order *dynodv1.SignalDynoRequest) (*dynodv1.SignalDynoResponse, error) {
	a.note(order)
	return &dynodv1.SignalDynoResponse{}, a.now().refuse
}

func (a *agent) GetDyno(_ context.Context, ask *dynodv1.GetDynoRequest) (*dynodv1.GetDynoResponse, error) {
	if d := a.now().find(ask.GetDynoId()); d != nil {
		return &dynodv1.GetDynoResponse{Dyno: d, Pressure: a.now().pressure}, nil
	}
	return nil, status.Error(codes.NotFound, "no such dyno")
}
