package agent

import (
	"context"
	"io"
	"time"

	"github.com/dynod/dynod/agent/dyno"
)

// Deadlines of a rendezvous.
const (
	dialLimit = 10 * time.Second
	dialAgain = time.Second
	takeLimit = 10 * time.Second // to take the last output of a dyno that has ended
)

// meet connects a dyno to the client that waits elsewhere, until the dyno takes none any more or ctx ends.
func (a *Agent) meet(ctx context.Context, r *runner, id, url string) {
	select {
	case <-r.received: // what an earlier agent wrote down of a client may not hold
	case <-r.done:
		return
	}
	for !closed(r.done) && ctx.Err() == nil && a.awaiting(ctx, id) == nil {
		conn := a.dial(ctx, id, url)
		if conn == nil {
			continue
		}
		if err := a.host(ctx, r, id, conn); err != nil && ctx.Err() == nil {
			a.Log.Warn("rendezvous", "dyno", id, "err", err)
		}
		_ = conn.Close()
	}
}

// dial tries until the dyno awaits its client no more; nil then. The URL is secret: it stands in no log.
func (a *Agent) dial(ctx context.Context, id, url string) io.ReadWriteCloser {
	for {
		status, err := a.Get(id)
		if err != nil {
			return nil
		}
		now, err := status.Attachable()
		left := time.Until(status.Client.Awaited.Add(dyno.AttachTimeout))
		if !now || err != nil || left <= 0 {
			a.idle(ctx, dialAgain) // the runner will say so soon
			return nil
		}
		limited, cancel := context.WithTimeout(ctx, min(left, dialLimit))
		conn, err := a.Rendezvous.Dial(limited, url)
		cancel()
		if err == nil {
			return conn
		}
		a.Log.Warn("rendezvous is tried again", "dyno", id, "err", err)
		if !a.idle(ctx, dialAgain) {
			return nil
		}
	}
}

// idle is false when ctx has ended it.
func (a *Agent) idle(ctx context.Context, d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-ctx.Done():
		return false
	}
}

// host makes the connection the dyno's client, and returns when the dyno has ended and its output is delivered, or the
// connection is lost.
func (a *Agent) host(ctx context.Context, r *runner, id string, conn io.ReadWriteCloser) error {
	s, err := a.seat(ctx, r, id)
	if err != nil {
		return err
	}
	defer s.Close()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := context.AfterFunc(ctx, func() {
		s.Close()
		_ = conn.Close()
	})
	defer stop()
	go func() {
		feed(s, conn)
		cancel() // the end of what it sends is the end of the client
	}()
	_, _ = io.WriteString(conn, s.Reason)
	delivered := make(chan struct{})
	go func() {
		defer close(delivered)
		if s.Output != nil {
			_, _ = io.Copy(&recipient{conn, cancel}, s.Output)
		}
	}()
	_, err = s.Wait(ctx)
	late := time.AfterFunc(takeLimit, func() { _ = conn.Close() })
	defer late.Stop()
	<-delivered
	return err
}

// recipient is a client to whom output goes. One that cannot be written to is lost.
type recipient struct {
	io.Writer
	lost func()
}

func (r *recipient) Write(p []byte) (int, error) {
	n, err := r.Writer.Write(p)
	if err != nil {
		r.lost()
	}
	return n, err
}
