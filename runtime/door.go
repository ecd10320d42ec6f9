package runtime

import (
	"context"
	"fmt"

	"github.com/containerd/errdefs"

	"github.com/dynod/dynod/runtime/launch"
	"github.com/dynod/dynod/runtime/spec"
)

// door is where dyno-init comes to when it hears a knock. A dyno has one, at which one caller stands at a time.
type door struct {
	process  *process
	listener *listener
	close    func()
}

// open waits for its turn, which may last as long as another caller's Launch, and listens then.
func (r *Runtime) open(ctx context.Context, id string, p *process) (*door, error) {
	owner, err := r.owner(id)
	if err != nil {
		return nil, err
	}
	select {
	case p.turn <- struct{}{}:
	case <-ctx.Done():
		return nil, fmt.Errorf("wait for another caller: %w", ctx.Err())
	}
	l, err := listen(r.place(id).launch(), owner)
	if err != nil {
		<-p.turn
		return nil, err
	}
	unwatch, err := p.watch(l.close)
	if err != nil {
		l.close()
		<-p.turn
		return nil, err
	}
	stop := context.AfterFunc(ctx, l.close)
	return &door{process: p, listener: l, close: func() {
		stop()
		unwatch()
		l.close()
		<-p.turn
	}}, nil
}

// owner is the dyno's user, as the host numbers it.
func (r *Runtime) owner(id string) (int, error) {
	first, err := r.place(id).firstID()
	if err != nil {
		return 0, errNoDirectory(id, err)
	}
	return first + spec.UID, nil
}

// next knocks and waits until dyno-init has come. Other processes of the dyno are told nothing.
func (d *door) next(ctx context.Context) (*launch.Conn, error) {
	for {
		if err := d.process.signal(launch.Knock); err != nil {
			return nil, fmt.Errorf("wake dyno-init: %w", err)
		}
		conn, err := d.listener.AcceptUnix()
		switch {
		case err == nil && peer(conn) == d.process.pid:
			return launch.NewConn(conn), nil
		case err == nil:
			_ = conn.Close()
		case ctx.Err() != nil:
			return nil, fmt.Errorf("wait for dyno-init: %w", ctx.Err())
		case d.process.ended():
			return nil, fmt.Errorf("wait for dyno-init: it has ended: %w", errdefs.ErrNotFound)
		default:
			return nil, fmt.Errorf("wait for dyno-init: %w", err)
		}
	}
}
