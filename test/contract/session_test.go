package contract_test

import (
	"context"
	"errors"
	"fmt"
	"sync"

	dynodv1 "github.com/dynod/dynod/proto/dynod/v1"
)

// session is a client's end of an attached dyno, or of a further command in one.
type session struct {
	ctx     context.Context
	leave   context.CancelFunc
	write   func(string) error
	end     func() error // of its input
	resize  func(rows, columns uint32) error
	signal  func(int32) error
	mu      sync.Mutex
	out     []byte
	exit    *dynodv1.Exit
	err     error // why nothing more will come
	changed chan struct{}
}

var window = &dynodv1.WindowSize{Rows: 24, Columns: 80}

// attach attaches to a dyno that was ordered so, and returns when its command runs.
func (s *stage) attach(id string) (*session, error) {
	t := newSession(s.ctx)
	c, err := s.API().AttachDyno(t.ctx)
	if err != nil {
		return nil, err
	}
	t.write = func(text string) error {
		return c.Send(&dynodv1.AttachDynoRequest{Message: &dynodv1.AttachDynoRequest_Stdin{Stdin: []byte(text)}})
	}
	t.end = func() error {
		return c.Send(&dynodv1.AttachDynoRequest{Message: &dynodv1.AttachDynoRequest_StdinEnd{StdinEnd: &dynodv1.StdinEnd{}}})
	}
	t.resize = func(rows, columns uint32) error {
		return c.Send(&dynodv1.AttachDynoRequest{Message: &dynodv1.AttachDynoRequest_Resize{Resize: &dynodv1.WindowSize{Rows: rows, Columns: columns}}})
	}
	t.signal = func(n int32) error {
		return c.Send(&dynodv1.AttachDynoRequest{Message: &dynodv1.AttachDynoRequest_Signal{Signal: n}})
	}
	if err := c.Send(&dynodv1.AttachDynoRequest{Message: &dynodv1.AttachDynoRequest_DynoId{DynoId: id}}); err != nil {
		return nil, err
	}
	if first, err := c.Recv(); err != nil || first.GetStarted() == nil {
		return nil, errors.Join(err, fmt.Errorf("attach: got %v", first))
	}
	go t.receive(func() ([]byte, *dynodv1.Exit, error) {
		m, err := c.Recv()
		return m.GetOutput(), m.GetExit(), err
	})
	return t, nil
}

// exec runs a further command in a dyno.
func (s *stage) exec(id string, terminal bool, words ...string) (*session, error) {
	t := newSession(s.ctx)
	c, err := s.API().ExecDyno(t.ctx)
	if err != nil {
		return nil, err
	}
	t.write = func(text string) error {
		return c.Send(&dynodv1.ExecDynoRequest{Message: &dynodv1.ExecDynoRequest_Stdin{Stdin: []byte(text)}})
	}
	t.end = func() error {
		return c.Send(&dynodv1.ExecDynoRequest{Message: &dynodv1.ExecDynoRequest_StdinEnd{StdinEnd: &dynodv1.StdinEnd{}}})
	}
	start := &dynodv1.ExecStart{DynoId: id, Command: words, Terminal: terminal}
	if terminal {
		start.Size = window
	}
	if err := c.Send(&dynodv1.ExecDynoRequest{Message: &dynodv1.ExecDynoRequest_Start{Start: start}}); err != nil {
		return nil, err
	}
	go t.receive(func() ([]byte, *dynodv1.Exit, error) {
		m, err := c.Recv()
		return append(m.GetStdout(), m.GetStderr()...), m.GetExit(), err
	})
	return t, nil
}

func newSession(ctx context.Context) *session {
	t := &session{changed: make(chan struct{})}
	t.ctx, t.leave = context.WithTimeout(ctx, patience)
	return t
}

func (t *session) receive(next func() ([]byte, *dynodv1.Exit, error)) {
	for err := error(nil); err == nil; {
		var out []byte
		var exit *dynodv1.Exit
		out, exit, err = next()
		t.mu.Lock()
		t.out, t.err = append(t.out, out...), err
		if exit != nil {
			t.exit = exit
		}
		close(t.changed)
		t.changed = make(chan struct{})
		t.mu.Unlock()
	}
}

// await waits until ok, of what has come so far.
func (t *session) await(what string, ok func() bool) error {
	for {
		t.mu.Lock()
		done, out, err, changed := ok(), string(t.out), t.err, t.changed
		t.mu.Unlock()
		if done {
			return nil
		}
		if err != nil {
			return fmt.Errorf("wait for %s: %w; it wrote %q", what, err, out)
		}
		select {
		case <-changed:
		case <-t.ctx.Done():
			return errors.Join(t.ctx.Err(), fmt.Errorf("wait for %s: it wrote %q", what, out))
		}
	}
}

// wrote waits until the command has written that text.
func (t *session) wrote(text string) error {
	return t.await(fmt.Sprintf("%q", text), func() bool { return contains(string(t.out), text) })
}

// written is all that has come so far.
func (t *session) written() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.out)
}

// ended waits for the command's end.
func (t *session) ended(code int32) error {
	if err := t.await("the exit", func() bool { return t.exit != nil }); err != nil {
		return err
	}
	return unless(t.exit.GetCode() == code, "the exit is %v, want %d", t.exit, code)
}
