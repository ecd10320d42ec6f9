package rpc

import (
	"context"
	"errors"
	"io"
	"sync"
	"syscall"

	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"

	"github.com/dynod/dynod/agent"
	"github.com/dynod/dynod/agent/dyno"
	dynodv1 "github.com/dynod/dynod/proto/dynod/v1"
)

// chunk is how much output goes into one message at most, bytes.
const chunk = 32 << 10

func (s *service) AttachDyno(stream grpc.BidiStreamingServer[dynodv1.AttachDynoRequest, dynodv1.AttachDynoResponse]) error {
	first, err := stream.Recv()
	if err != nil {
		return err
	}
	session, err := s.agent.Attach(stream.Context(), first.GetDynoId())
	if err != nil {
		return err
	}
	defer session.Close()
	if err := stream.Send(&dynodv1.AttachDynoResponse{Message: &dynodv1.AttachDynoResponse_Started{Started: &dynodv1.AttachStarted{}}}); err != nil {
		return err
	}
	output := func(p []byte) error {
		return stream.Send(&dynodv1.AttachDynoResponse{Message: &dynodv1.AttachDynoResponse_Output{Output: p}})
	}
	exit, err := converse(stream.Context(), session, stream.Recv, output, output)
	if err != nil {
		return err
	}
	return stream.Send(&dynodv1.AttachDynoResponse{Message: &dynodv1.AttachDynoResponse_Exit{Exit: exit}})
}

func (s *service) ExecDyno(stream grpc.BidiStreamingServer[dynodv1.ExecDynoRequest, dynodv1.ExecDynoResponse]) error {
	first, err := stream.Recv()
	if err != nil {
		return err
	}
	order, err := execOrder(first.GetStart())
	if err != nil {
		return err
	}
	session, err := s.agent.Exec(stream.Context(), order)
	if err != nil {
		return err
	}
	defer session.Close()
	exit, err := converse(stream.Context(), session, stream.Recv,
		func(p []byte) error {
			return stream.Send(&dynodv1.ExecDynoResponse{Message: &dynodv1.ExecDynoResponse_Stdout{Stdout: p}})
		},
		func(p []byte) error {
			return stream.Send(&dynodv1.ExecDynoResponse{Message: &dynodv1.ExecDynoResponse_Stderr{Stderr: p}})
		})
	if err != nil {
		return err
	}
	return stream.Send(&dynodv1.ExecDynoResponse{Message: &dynodv1.ExecDynoResponse_Exit{Exit: exit}})
}

// converse carries a session's bytes both ways until the command has ended and all its output is sent. A client that
// leaves, or says what cannot be meant, hangs up.
func converse[M said](
	ctx context.Context, s *agent.Session, hear func() (M, error), output, errors func([]byte) error,
) (*dynodv1.Exit, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go func() {
		if err := listen(ctx, s, hear); err != nil {
			cancel(err)
		}
	}()
	one := &sync.Mutex{} // a stream sends one message at a time
	var copies errgroup.Group
	copies.Go(func() error { return carry(s.Output, one, output) })
	copies.Go(func() error { return carry(s.Errors, one, errors) })
	if s.Reason != "" {
		copies.Go(func() error { return tell(one, errors, []byte(s.Reason+"\r\n")) })
	}
	exit, err := s.Wait(ctx)
	if err != nil {
		s.Close() // the copies end
	}
	err = firstOf(copies.Wait(), context.Cause(ctx), err)
	return toExit(&exit), err
}

func firstOf(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// carry sends what can be read, and returns when that ends or nobody takes it.
func carry(from io.Reader, one *sync.Mutex, send func([]byte) error) error {
	if from == nil {
		return nil
	}
	buffer := make([]byte, chunk)
	for {
		n, err := from.Read(buffer)
		if n > 0 {
			if err := tell(one, send, buffer[:n]); err != nil {
				return err
			}
		}
		if err != nil {
			return nil // the end, whatever a terminal or a pipe calls it
		}
	}
}

func tell(one *sync.Mutex, send func([]byte) error, p []byte) error {
	one.Lock()
	defer one.Unlock()
	return send(p)
}

// said is one message of a client after its first.
type said interface {
	GetStdin() []byte
	GetResize() *dynodv1.WindowSize
	GetStdinEnd() *dynodv1.StdinEnd
	GetSignal() int32
}

// listen does what the client says until it says no more. What a command that has ended does not take is no error.
func listen[M said](ctx context.Context, s *agent.Session, hear func() (M, error)) error {
	for {
		m, err := hear()
		if errors.Is(err, io.EOF) {
			_ = s.CloseInput()
			return nil
		}
		if err == nil {
			err = obey(ctx, s, m)
		}
		if err != nil {
			return err
		}
	}
}

func obey(ctx context.Context, s *agent.Session, m said) error {
	switch {
	case m.GetStdinEnd() != nil:
		_ = s.CloseInput()
	case m.GetResize() != nil:
		rows, columns, err := windowSize("resize", m.GetResize())
		if err != nil {
			return err
		}
		_ = s.Resize(rows, columns)
	case m.GetSignal() != 0:
		sig, err := signal(m.GetSignal())
		if err != nil {
			return err
		}
		_ = s.Signal(ctx, sig) // one that does not arrive is no reason to hang up
	default:
		_, _ = s.Write(m.GetStdin())
	}
	return nil
}

// signal is a number that callers may send.
func signal(number int32) (syscall.Signal, error) {
	sig := syscall.Signal(number)
	if sig < 1 || sig > maxSignal || sig == syscall.SIGKILL || sig == syscall.SIGSTOP {
		return 0, dyno.Invalid{{Field: "signal", Problem: "must be 1 to 64 and neither SIGKILL nor SIGSTOP"}}
	}
	return sig, nil
}
