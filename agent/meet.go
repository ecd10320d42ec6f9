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
)

// meet connects each life of a dyno to the client that waits elsewhere, until the dyno is gone or ctx ends.
func (a *Agent) meet(ctx context.Context, id, url string) {
	for ctx.Err() == nil && a.awaiting(ctx, id) == nil {
		conn := a.dial(ctx, id, url)
		if conn == nil {
			continue
		}
		if err := a.host(ctx, id, conn); err != nil && ctx.Err() == nil {
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
func (a *Agent) host(ctx context.Context, id string, conn io.ReadWriteCloser) error {
	r := a.find(id)
	if r == nil {
		return errGone
	}
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
		_, _ = io.Copy(s, conn)
		cancel() // the end of what it sends is the end of the client
	}()
	_, _ = io.WriteString(conn, s.Reason)
	delivered := make(chan struct{})
	go func() {
		defer close(delivered)
		if s.Output != nil {
			_, _ = io.Copy(conn, s.Output)
		}
	}()
	_, err = s.Wait(ctx)
	<-delivered
	return err
}
