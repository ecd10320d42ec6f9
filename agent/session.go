package agent

import (
	"context"
	"fmt"
	"io"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/containerd/errdefs"

	"github.com/dynod/dynod/agent/dyno"
	"github.com/dynod/dynod/runtime"
)

// Session is a client's hold on a command in a dyno. Its methods may be called from any goroutine. Nothing is kept in
// memory: what the client does not read holds up the command, and what the command does not read holds up the client.
type Session struct {
	// Output is what the command writes, Errors what it writes to standard error where that is apart, else nil. A read
	// ends with an error when there is nothing more: all that could write are gone, or the session is closed.
	Output, Errors io.Reader
	// Reason says why the command could not be executed; there is nothing to read or write then, and an exit.
	Reason string

	stdio  *runtime.Stdio // nil where the command could not be executed
	signal func(context.Context, syscall.Signal) error
	wait   func(context.Context) (dyno.Exit, error)
	hangUp func()
	exited chan struct{} // closed by Wait
	once   sync.Once
}

// begin completes a session with what its command reads and writes.
func (s *Session) begin(stdio *runtime.Stdio) *Session {
	s.exited = make(chan struct{})
	s.stdio = stdio
	if stdio != nil {
		s.Output = &outlet{stdio.Output, s.exited}
		if stdio.Errors != nil {
			s.Errors = &outlet{stdio.Errors, s.exited}
		}
	}
	return s
}

// Write gives the command input.
func (s *Session) Write(p []byte) (int, error) {
	if s.stdio == nil {
		return len(p), nil
	}
	return s.stdio.Input.Write(p)
}

// CloseInput says that no more input will come.
func (s *Session) CloseInput() error {
	if s.stdio == nil {
		return nil
	}
	return s.stdio.CloseInput()
}

// Resize changes the size of the terminal, if there is one.
func (s *Session) Resize(rows, columns uint16) error {
	if s.stdio == nil {
		return nil
	}
	return s.stdio.Resize(runtime.WindowSize{Rows: rows, Columns: columns})
}

// Signal sends a signal to all processes of an attached dyno, or to those of an exec'd command.
func (s *Session) Signal(ctx context.Context, sig syscall.Signal) error {
	ctx, cancel := context.WithTimeout(ctx, callLimit)
	defer cancel()
	return s.signal(ctx, sig)
}

// Wait returns how the command ended. Reads then end soon even where a process that it left behind could still write.
// Aborted: the dyno ended before that was told. Unavailable: the agent goes away.
func (s *Session) Wait(ctx context.Context) (dyno.Exit, error) {
	exit, err := s.wait(ctx)
	s.once.Do(func() {
		close(s.exited)
		for _, r := range []io.Reader{s.Output, s.Errors} {
			if o, ok := r.(*outlet); ok {
				_ = o.file.SetReadDeadline(time.Now().Add(linger))
			}
		}
	})
	return exit, err
}

// Close hangs up. It may be called again, and after the end.
func (s *Session) Close() { s.hangUp() }

// linger is how long output is waited for after the command has ended.
const linger = time.Second

// outlet reads a command's output. Once the command has ended, silence is the end.
type outlet struct {
	file   *os.File
	exited <-chan struct{}
}

func (o *outlet) Read(p []byte) (int, error) {
	select {
	case <-o.exited:
		if err := o.file.SetReadDeadline(time.Now().Add(linger)); err != nil {
			return 0, err
		}
	default:
	}
	return o.file.Read(p)
}

// Attach makes the caller the client of an attached dyno. It returns when the command has been started, which may take
// until the dyno is ready; ctx bounds the wait. Errors: NotFound; FailedPrecondition when the dyno was not ordered so
// or awaits its client by rendezvous, has or had a client, or ends before its command ran; Unavailable.
func (a *Agent) Attach(ctx context.Context, id string) (*Session, error) {
	status, err := a.Get(id)
	if err != nil {
		return nil, err
	}
	if status.Spec.Secret.RendezvousURL != "" {
		return nil, fmt.Errorf("dyno %s awaits its client by rendezvous: %w", id, errdefs.ErrFailedPrecondition)
	}
	if err := a.awaiting(ctx, id); err != nil {
		return nil, err
	}
	r := a.find(id)
	if r == nil {
		return nil, errGone
	}
	return a.seat(ctx, r, id)
}

// awaiting returns when a dyno awaits its client, or with the reason why it never will.
func (a *Agent) awaiting(ctx context.Context, id string) error {
	watch, _ := a.Watch()
	defer watch.Close()
	for {
		status, err := a.Get(id)
		if err != nil {
			return err
		}
		if now, err := status.Attachable(); now || err != nil {
			return err
		}
		if _, _, err := watch.Next(ctx); err != nil {
			return err
		}
	}
}

// seat takes the client's place at a dyno that awaits one, and returns when the command has been started.
func (a *Agent) seat(ctx context.Context, r *runner, id string) (*Session, error) {
	g := newGuest()
	err := r.ask(ctx, func(rec dyno.Record) (dyno.Record, error) {
		next, err := rec.Attached(time.Now())
		if err == nil {
			r.guest = g
		}
		return next, err
	})
	if err != nil {
		g.leave()
		return nil, err
	}
	select {
	case <-g.begun:
	case <-g.ended:
		err = fmt.Errorf("the dyno has ended before its command ran: %w", errdefs.ErrFailedPrecondition)
	case <-r.done:
		err = errLeaving
	case <-ctx.Done():
		err = ctx.Err()
	}
	if g.started() { // whatever came next: its output and its exit are the caller's
		return a.session(r, id, g), nil
	}
	g.leave()
	return nil, err
}

// errLeaving is why a session ends when the agent does.
var errLeaving = fmt.Errorf("the agent is going away: %w", errdefs.ErrUnavailable)

func (a *Agent) session(r *runner, id string, g *guest) *Session {
	s := &Session{
		Reason: g.reason,
		signal: func(ctx context.Context, sig syscall.Signal) error { return a.Runtime.Signal(ctx, id, sig) },
		wait: func(ctx context.Context) (dyno.Exit, error) {
			select {
			case <-g.ended:
				return g.exit, nil
			case <-r.done:
				if closed(g.ended) {
					return g.exit, nil
				}
				return dyno.Exit{}, errLeaving
			case <-ctx.Done():
				return dyno.Exit{}, ctx.Err()
			}
		},
		hangUp: func() {
			g.leave()
			g.hangUp()
		},
	}
	return s.begin(g.stdio)
}
