package logs

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/containerd/errdefs"

	"github.com/dynod/dynod/logs/capture"
	"github.com/dynod/dynod/logs/spool"
)

const (
	// startTimeout is how long a started capture has until its socket answers.
	startTimeout = 5 * time.Second
	// dialEvery is the pause between two looks at the socket meanwhile.
	dialEvery = 2 * time.Millisecond
)

// connect keeps a connection to capture until ctx ends, and starts capture where that is its task.
func (l *Logs) connect(ctx context.Context) {
	pause := &backoff.ExponentialBackOff{
		InitialInterval: 10 * time.Millisecond, Multiplier: 2, MaxInterval: 5 * time.Second, RandomizationFactor: 0.2,
	}
	pause.Reset()
	for ctx.Err() == nil {
		c, err := l.reach(ctx)
		if err == nil {
			err = l.serve(ctx, c, pause.Reset)
		}
		if ctx.Err() == nil {
			l.log.Warn("no connection to capture", "error", err)
			sleep(ctx, pause.NextBackOff())
		}
	}
}

func sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// reach dials capture; if nobody listens it is started first.
func (l *Logs) reach(ctx context.Context) (*capture.Client, error) {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	c, err := capture.Dial(ctx, l.cfg.Socket)
	if !errdefs.IsUnavailable(err) || len(l.cfg.Capture) == 0 {
		return c, err
	}
	if l.child == 0 || capture.Reap(l.child) {
		l.child = 0
		if l.child, err = capture.Start(l.cfg.Capture, filepath.Join(filepath.Dir(l.cfg.Socket), "capture.log")); err != nil {
			return nil, err
		}
		l.log.Info("capture started", "pid", l.child)
	}
	for {
		sleep(ctx, dialEvery)
		if c, err = capture.Dial(ctx, l.cfg.Socket); !errdefs.IsUnavailable(err) {
			return c, err
		}
		if capture.Reap(l.child) {
			l.child = 0
			return nil, fmt.Errorf("capture ended at once, see capture.log beside its socket: %w", err)
		}
	}
}

// serve uses one connection until it ends. ready is called when it can be used.
func (l *Logs) serve(ctx context.Context, c *capture.Client, ready func()) error {
	ended := make(chan error, 1)
	go func() { ended <- c.Serve(ctx, l.apply) }()
	err := l.agree(ctx, c)
	if err == nil {
		ready()
		l.turn(c)
		err = <-ended
		l.turn(nil)
		return err
	}
	c.Close()
	return errors.Join(err, <-ended)
}

// turn makes a connection the one to use. All streams are looked at: what capture told nobody in between is found. What it
// tells meanwhile is taken in beside that.
func (l *Logs) turn(c *capture.Client) {
	type look struct {
		ends spool.Cursor
		err  error
	}
	looks := map[*dyno]look{}
	if c != nil {
		for _, d := range l.each() {
			ends, err := spool.Tails(l.dir(d.id))
			if err != nil {
				l.log.Warn("spool unreadable", "dyno", d.id, "error", err)
			}
			looks[d] = look{ends, err}
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.client = c
	close(l.turned)
	l.turned = make(chan struct{})
	if c == nil {
		return
	}
	for _, d := range l.dynos {
		l.seal(d)
		for _, s := range d.streams {
			before := s.end
			s.end = max(s.end, looks[d].ends[s.Stream])
			if s.end > before || s.undelivered(looks[d].err) {
				l.announce(s)
			}
		}
		d.tell()
	}
}

// agree makes both sides hold the same pipes: capture's read ends are held here too, and what is held here but not
// read there is given back.
func (l *Logs) agree(ctx context.Context, c *capture.Client) error {
	l.unread()
	live, err := listLive(ctx, c)
	if err != nil {
		return fmt.Errorf("list pipes: %w", err)
	}
	for _, id := range live {
		if err := l.attach(ctx, c, id); err != nil {
			return fmt.Errorf("attach pipes: %w", err)
		}
	}
	for k, fds := range l.notRead() {
		if err == nil {
			err = askOne(ctx, c, restoreMessage(k), fds, l.restored(k))
		}
		closeAll(fds)
	}
	if err != nil {
		return fmt.Errorf("restore pipes: %w", err)
	}
	return nil
}

// askOne is a question of many: on a host with many dynos and no CPU to spare all of them together may take long.
func askOne(ctx context.Context, c *capture.Client, m capture.Message, fds []int, settle func(capture.Message, []int)) error {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	return c.Do(ctx, m, fds, settle)
}

// listLive gives the dynos of which capture reads a stream. It may be over when capture is asked for the pipes.
func listLive(ctx context.Context, c *capture.Client) (live []string, err error) {
	for after := ""; ; {
		var entries []capture.Entry
		m := capture.Message{Kind: capture.List, ID: after}
		err := askOne(ctx, c, m, nil, func(m capture.Message, fds []int) { entries = m.Entries; closeAll(fds) })
		if err != nil || len(entries) == 0 {
			return live, err
		}
		for _, e := range entries {
			if e.ID != after {
				live, after = append(live, e.ID), e.ID
			}
		}
	}
}

func (l *Logs) attach(ctx context.Context, c *capture.Client, id string) error {
	m := capture.Message{Kind: capture.Attach, ID: id}
	return askOne(ctx, c, m, nil, func(m capture.Message, fds []int) {
		l.mu.Lock()
		defer l.mu.Unlock()
		for _, s := range []Stream{Stdout, Stderr} {
			if m.Mask.Has(s) && len(fds) >= 2 {
				l.find(id).stream(s).keep(fds[0], fds[1], true)
				fds = fds[2:]
			}
		}
		closeAll(fds)
	})
}

// unread forgets what the capture before has read.
func (l *Logs) unread() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, d := range l.dynos {
		for _, s := range d.streams {
			s.read = false
		}
	}
}

// restored takes in that capture reads a stream from now on.
func (l *Logs) restored(k Key) func(capture.Message, []int) {
	return func(_ capture.Message, fds []int) {
		closeAll(fds)
		l.mu.Lock()
		defer l.mu.Unlock()
		if d := l.dynos[k.Dyno]; d != nil {
			d.stream(k.Stream).read = true
		}
	}
}

// notRead gives copies of what is held of every stream that the capture that is connected has not said it reads, for the caller
// to close.
func (l *Logs) notRead() map[Key][]int {
	l.mu.Lock()
	defer l.mu.Unlock()
	held := map[Key][]int{}
	for _, d := range l.dynos {
		for _, s := range d.streams {
			if s.hold >= 0 && !s.read {
				held[s.Key] = s.copies()
			}
		}
	}
	return held
}

// apply takes in what capture tells.
func (l *Logs) apply(entries []capture.Entry) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, e := range entries {
		d := l.dynos[e.ID]
		if d == nil {
			continue // removed meanwhile
		}
		s := d.stream(e.Stream)
		s.end = max(s.end, e.End)
		if !e.Live {
			if s.read { // else what is held is to be restored yet
				s.release()
			}
			l.seal(d)
		}
		l.announce(s)
		d.tell()
	}
}

// connected waits for a connection.
func (l *Logs) connected(ctx context.Context) (*capture.Client, error) {
	for {
		l.mu.Lock()
		c, turned := l.client, l.turned
		l.mu.Unlock()
		if c != nil {
			return c, nil
		}
		select {
		case <-turned:
		case <-ctx.Done():
			return nil, fmt.Errorf("wait for capture: %w", ctx.Err())
		}
	}
}

// ask sends a request, again over the next connection if one breaks; see capture.Client.Do.
func (l *Logs) ask(ctx context.Context, m capture.Message, fds []int, settle func(capture.Message, []int)) error {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	for {
		c, err := l.connected(ctx)
		if err != nil {
			return err
		}
		if err = c.Do(ctx, m, fds, settle); !errors.Is(err, capture.ErrClosed) {
			return err
		}
		if err := l.left(ctx, c); err != nil {
			return err
		}
	}
}

// left waits until a broken connection is not the one in use any more.
func (l *Logs) left(ctx context.Context, c *capture.Client) error {
	l.mu.Lock()
	same, turned := l.client == c, l.turned
	l.mu.Unlock()
	if !same {
		return nil
	}
	select {
	case <-turned:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("wait for capture: %w", ctx.Err())
	}
}
