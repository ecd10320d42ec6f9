package runtime

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"syscall"

	"github.com/containerd/errdefs"

	"github.com/dynod/dynod/runtime/launch"
)

// lastSignal is the highest number of a signal.
const lastSignal = 64

// session is a Process: a connection to dyno-init that lasts as long as the command.
type session struct {
	conn    *launch.Conn
	stdio   *Stdio
	sending sync.Mutex
	done    chan struct{} // closed when code and err are final
	code    int
	err     error
}

// newSession hears whether the command was started.
func (r *Runtime) newSession(ctx context.Context, conn *launch.Conn, streams *streams) (*session, error) {
	stop := context.AfterFunc(ctx, conn.Close)
	err := awaitStarted(conn, streams)
	if !stop() {
		err = ctx.Err()
	}
	s := &session{conn: conn, stdio: streams.ours, done: make(chan struct{})}
	if err == nil {
		err = r.enroll(s)
	}
	if err != nil {
		conn.Close()
		return nil, err
	}
	streams.take()
	go r.attend(s)
	return s, nil
}

func awaitStarted(conn *launch.Conn, streams *streams) error {
	m, err := conn.Receive(talkTimeout)
	if err != nil {
		return gone(err)
	}
	defer m.Drop()
	if m.Kind == launch.Failed {
		return &LaunchError{Reason: string(m.Payload)}
	}
	if m.Kind != launch.Started {
		return fmt.Errorf("%w: kind %q instead of a start", launch.ErrFrame, byte(m.Kind))
	}
	err = streams.receive(m)
	if err == nil && streams.ours == nil {
		return fmt.Errorf("%w: a start without its terminal", launch.ErrFrame)
	}
	return err
}

// attend waits for the word how the command ended.
func (r *Runtime) attend(s *session) {
	defer close(s.done)
	defer s.conn.Close()
	m, err := s.conn.Receive(0)
	r.dismiss(s)
	switch {
	case err != nil:
		s.err = fmt.Errorf("wait for executed command: %w: %w", errdefs.ErrNotFound, err)
		return
	case m.Kind == launch.Exit:
		s.code = int(m.Payload[0])
	default:
		s.err = fmt.Errorf("wait for executed command: %w: %w", errdefs.ErrNotFound, launch.ErrFrame)
	}
	m.Drop()
}

// Stdio is the caller's side of the command.
func (s *session) Stdio() *Stdio { return s.stdio }

// Wait returns how the command ended.
func (s *session) Wait(ctx context.Context) (int, error) {
	select {
	case <-s.done:
		return s.code, s.err
	case <-ctx.Done():
		return 0, fmt.Errorf("wait for executed command: %w", ctx.Err())
	}
}

// Signal sends a signal to the command's process group.
func (s *session) Signal(sig syscall.Signal) error {
	if sig < 1 || sig > lastSignal {
		return fmt.Errorf("signal executed command: %w: signal %d", errdefs.ErrInvalidArgument, int(sig))
	}
	s.sending.Lock()
	defer s.sending.Unlock()
	if err := s.conn.Send(talkTimeout, launch.Signal, []byte{byte(sig)}); err != nil {
		return fmt.Errorf("signal executed command: %w", gone(err))
	}
	return nil
}

// Close hangs up.
func (s *session) Close() error {
	s.conn.Close()
	err := s.stdio.Close()
	<-s.done
	return err
}

func (r *Runtime) enroll(s *session) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.life.Err(); err != nil {
		return fmt.Errorf("keep executed command: %w: the runtime is closed", errdefs.ErrUnavailable)
	}
	r.sessions[s] = struct{}{}
	return nil
}

func (r *Runtime) dismiss(s *session) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.sessions, s)
}

// closeSessions hangs up what runs; nothing more is enrolled then.
func (r *Runtime) closeSessions() {
	r.mu.Lock()
	running := slices.Collect(maps.Keys(r.sessions))
	r.mu.Unlock()
	for _, s := range running {
		_ = s.Close()
	}
}
