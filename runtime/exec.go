package runtime

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"

	"github.com/dynod/dynod/runtime/launch"
)

// Exec starts one more command in a dyno that was launched, whoever launched it, and returns once it runs. dyno-init or its
// assistant is its parent, so it has the walls and limits of the dyno's own command. Of the plan only Args, Env, Dir and Attach
// are used; without an Attach it gets pipes, standard error apart. ctx bounds the start, which takes 10 s at most.
//
// *LaunchError if the command cannot be started. NotFound if the dyno has ended, FailedPrecondition if it was not
// launched yet, InvalidArgument if the plan cannot be sent. The Process is the caller's to close; it is hung up when
// the Runtime is closed.
func (r *Runtime) Exec(ctx context.Context, id string, plan Plan) (Process, error) {
	ctx, cancel := context.WithTimeout(ctx, talkTimeout)
	defer cancel()
	p, err := r.process(ctx, id)
	if err != nil {
		return nil, err
	}
	s, err := r.exec(ctx, id, p, plan)
	if err != nil {
		if ctx.Err() != nil {
			err = fmt.Errorf("dyno-init has not started it, perhaps for want of processes in the dyno: %w", ctx.Err())
		}
		return nil, fmt.Errorf("exec in dyno %s: %w", id, err)
	}
	return s, nil
}

func (r *Runtime) exec(ctx context.Context, id string, p *process, plan Plan) (*session, error) {
	kind := launch.Pipes
	if plan.Attach != nil {
		kind = plan.Attach.kind()
	}
	plan.Rlimits = nil // dyno-init has them since the launch
	payload, err := plan.encode(kind)
	if err != nil {
		return nil, err
	}
	owner, err := r.owner(id)
	if err != nil {
		return nil, err
	}
	streams, err := newStreams(kind, owner, true)
	if err != nil {
		return nil, err
	}
	defer streams.close()
	conn, err := r.order(ctx, id, p, payload, streams)
	if err != nil {
		return nil, err
	}
	return r.newSession(ctx, conn, streams)
}

// order tells dyno-init what to execute, and leaves the door to others. The connection stays.
func (r *Runtime) order(ctx context.Context, id string, p *process, payload []byte, s *streams) (*launch.Conn, error) {
	door, err := r.open(ctx, id, p)
	if err != nil {
		return nil, err
	}
	defer door.close()
	conn, err := door.next(ctx)
	if err != nil {
		return nil, err
	}
	defer context.AfterFunc(ctx, conn.Close)()
	fds, err := descriptors(s.theirs...)
	if err == nil {
		err = awaitLaunched(conn)
	}
	if err == nil {
		err = conn.Send(talkTimeout, launch.Exec, payload, fds...)
	}
	if err != nil {
		conn.Close()
		return nil, gone(err)
	}
	return conn, nil
}

// awaitLaunched hears that the dyno's own command was started.
func awaitLaunched(conn *launch.Conn) error {
	m, err := conn.Receive(talkTimeout)
	if err != nil {
		return err
	}
	defer m.Drop()
	switch m.Kind {
	case launch.Started:
		return nil
	case launch.Waiting:
		return fmt.Errorf("ask dyno-init: %w: the dyno has not been launched", errdefs.ErrFailedPrecondition)
	}
	return fmt.Errorf("ask dyno-init: %w: the dyno's command could not be started", errdefs.ErrNotFound)
}

// gone classes an error of a connection whose other end is not there any more.
func gone(err error) error {
	for _, e := range []error{io.EOF, io.ErrUnexpectedEOF, net.ErrClosed, unix.EPIPE, unix.ECONNRESET} {
		if errors.Is(err, e) {
			return fmt.Errorf("%w: %w", errdefs.ErrNotFound, err)
		}
	}
	return err
}
