package runtime

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/containerd/errdefs"

	"github.com/dynod/dynod/runtime/launch"
	"github.com/dynod/dynod/runtime/spec"
)

// door is where dyno-init comes to when it hears a knock. A dyno has one, at which one caller stands at a time.
type door struct {
	process  *process
	dir      string
	owner    int
	listener *listener // nil before the first knock
	unwatch  func()
}

// open waits for its turn, which may last as long as another caller's Launch.
func (r *Runtime) open(ctx context.Context, id string, p *process) (*door, error) {
	owner, err := r.owner(id)
	if err != nil {
		return nil, err
	}
	select {
	case p.turn <- struct{}{}:
		return &door{process: p, dir: r.place(id).launch(), owner: owner}, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("wait for another caller: %w", ctx.Err())
	}
}

func (d *door) close() {
	if d.listener != nil {
		d.unwatch()
		d.listener.close()
	}
	<-d.process.turn
}

// listen is until the process or ctx ends.
func (d *door) listen(ctx context.Context) error {
	l, err := listen(d.dir, d.owner)
	if err != nil {
		return err
	}
	unwatch, err := d.process.watch(l.close)
	if err != nil {
		l.close()
		return err
	}
	stop := context.AfterFunc(ctx, l.close)
	d.listener, d.unwatch = l, func() { stop(); unwatch() }
	return nil
}

// owner is the dyno's user, as the host numbers it.
func (r *Runtime) owner(id string) (int, error) {
	first, err := r.place(id).firstID()
	if err != nil {
		return 0, errNoDirectory(id, err)
	}
	return first + spec.UID, nil
}

// next is the connection on which dyno-init waits already, if there is one; else it knocks.
func (d *door) next(ctx context.Context) (*launch.Conn, error) {
	if conn := d.process.waits.Swap(nil); conn != nil {
		return conn, nil
	}
	if d.listener == nil {
		if err := d.listen(ctx); err != nil {
			return nil, err
		}
	}
	return d.knock(ctx)
}

// again is after how long there is another knock: an assistant may have ended on its way, or found no process to spare.
const again = time.Second

// knock waits until dyno-init or its assistant has come. Other processes of the dyno are told nothing.
func (d *door) knock(ctx context.Context) (*launch.Conn, error) {
	for {
		if err := d.process.signal(launch.Knock); err != nil {
			return nil, fmt.Errorf("wake dyno-init: %w", err)
		}
		if err := d.listener.SetDeadline(time.Now().Add(again)); err != nil && ctx.Err() == nil && !d.process.ended() {
			return nil, fmt.Errorf("wait for dyno-init: %w", err)
		}
		conn, err := d.listener.AcceptUnix()
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
		case err == nil && d.process.speaks(peer(conn)):
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
