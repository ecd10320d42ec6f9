package logs

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/containerd/errdefs"
	"golang.org/x/time/rate"

	"github.com/dynod/dynod/logs/spool"
)

// dyno is what is known of one dyno's streams. Logs.mu guards it, except for platform.
type dyno struct {
	id        string
	streams   [len(spool.Streams)]*stream // stream s is at s-1
	saved     spool.Cursor                // durable
	reached   reached                     // at the last trim
	untrimmed trouble                     // maintain's alone
	finished  bool                        // no further life
	removed   bool
	changed   chan struct{} // closed and made anew when anything here changes
	drains    []*drain      // receivers besides the upstream

	waiting []*stream // for their turn to be shipped
	turn    *stream   // had the last one
	row     int       // bytes read of it since it did not have the one before, or since nothing of the dyno waited
	share   *rate.Limiter

	platform platform // has a lock of its own
}

type stream struct {
	Key
	dyno   *dyno
	acked  int64 // everything below is delivered
	end    int64 // position after the last byte heard of
	found  int64 // end when the agent began
	absent int64 // bytes between acked and found that were not there then
	hold   int   // read end of the pipe that capture reads: keeps it if capture dies. -1: the life is over
	stage  int   // and the pipe between it and the disk, -1 if there is none
	read   bool  // the capture that is connected has said that it reads it
	queued bool  // waits for a turn or has it
	news   bool  // there may be more than was there when its turn began
	barred bool  // nothing of it is taken at present

	unread trouble // the shipper's alone
}

func checkID(id string) error {
	if !spool.ValidID(id) {
		return fmt.Errorf("dyno id %q is no lower-case UUID: %w", id, errdefs.ErrInvalidArgument)
	}
	return nil
}

// find gives a dyno, known or new. The caller holds mu.
func (l *Logs) find(id string) *dyno {
	if d := l.dynos[id]; d != nil {
		return d
	}
	d := &dyno{id: id, changed: make(chan struct{}), share: newShare()}
	cursor, err := spool.LoadCursor(l.dir(id))
	if err == nil {
		d.saved = cursor
	}
	tails, unread := spool.Tails(l.dir(id))
	for i, s := range spool.Streams {
		st := &stream{Key: Key{id, s}, dyno: d, acked: cursor[s], hold: -1, stage: -1}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			l.log.Warn("cursor unreadable: sending everything again", "dyno", id, "error", err)
			st.acked, _, _ = spool.First(l.dir(id), s)
		}
		st.end, st.found = tails[s], tails[s]
		st.absent = l.missing(st, st.acked)
		d.streams[i] = st
		if st.undelivered(unread) {
			l.enqueue(st)
		}
	}
	l.dynos[id] = d
	return d
}

// backlog is how many bytes wait for delivery upstream. The caller holds Logs.mu.
func (s *stream) backlog() int64 { return s.ahead(s.acked, s.absent) }

// undelivered says whether the upstream may not have all that there is: of a host's many finished dynos it has. An error says
// why the end is not known. The caller holds Logs.mu.
func (s *stream) undelivered(unread error) bool { return unread != nil || s.acked < s.end }

// ahead is how many bytes come after a position, before found without those that were absent when the agent began.
func (s *stream) ahead(at, absent int64) int64 {
	n := s.end - at
	if at < s.found {
		n -= absent // too much near the end of what was found
	}
	return max(0, n)
}

// missing is how many bytes between a position and the end are not there.
func (l *Logs) missing(s *stream, from int64) int64 {
	if from >= s.end {
		return 0
	}
	there, _ := spool.Present(l.dir(s.Dyno), s.Stream, from)
	return max(0, s.end-from-there)
}

// enqueue gives a stream to the shipper. The caller holds mu.
func (l *Logs) enqueue(s *stream) {
	if s.news = true; !s.queued && !s.barred {
		s.queued = true
		l.turns.push(s, true)
		poke(l.wake)
	}
}

// announce says that there may be more in a stream. The caller holds mu.
func (l *Logs) announce(s *stream) {
	l.enqueue(s)
	for _, dr := range s.dyno.drains {
		poke(dr.wake)
	}
}

func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// tell wakes everybody who waits for a change of the dyno. The caller holds mu.
func (d *dyno) tell() {
	close(d.changed)
	d.changed = make(chan struct{})
}

func (d *dyno) stream(s Stream) *stream { return d.streams[s-1] }

func (d *dyno) held() bool { return d.stream(Stdout).hold >= 0 || d.stream(Stderr).hold >= 0 }

// release lets go of the pipe: its life is over. The caller holds Logs.mu. The last one to close a pipe takes its lock, which a
// dyno may hold.
func (s *stream) release() {
	go closeAll([]int{s.hold, s.stage})
	s.hold, s.stage, s.read = -1, -1, false
}

// await returns when done says so, asked again after every change of the dyno; done runs with mu held. An unknown dyno
// is done.
func (l *Logs) await(ctx context.Context, id string, done func(*dyno) bool) error {
	for {
		l.mu.Lock()
		d := l.dynos[id]
		if d == nil || done(d) {
			l.mu.Unlock()
			return nil
		}
		changed := d.changed
		l.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Finish says that the dyno will have no further life: when its pipes have reached end of file, an unfinished last
// line is complete and followers end. It may be called again.
func (l *Logs) Finish(id string) {
	l.mu.Lock()
	d := l.dynos[id]
	if d != nil {
		d.finished = true
		l.seal(d)
		d.tell()
	}
	l.mu.Unlock()
	if d != nil {
		l.sealPlatform(d)
	}
}

// seal completes the last lines of a finished dyno of which it is known that nobody writes them. The caller holds mu.
func (l *Logs) seal(d *dyno) {
	if !d.finished || d.held() || l.client == nil {
		return
	}
	for _, s := range []Stream{Stdout, Stderr} {
		if err := spool.Seal(l.dir(d.id), s); err != nil {
			l.log.Warn("end of a stream is not marked", "dyno", d.id, "stream", s.String(), "error", err)
		}
		l.announce(d.stream(s))
	}
}

// Drained returns when both pipes of the dyno's present life have reached end of file: its output is in the spool,
// all of it.
func (l *Logs) Drained(ctx context.Context, id string) error {
	if err := checkID(id); err != nil {
		return err
	}
	if _, err := l.connected(ctx); err != nil {
		return err
	}
	if err := l.await(ctx, id, func(d *dyno) bool { return !d.held() }); err != nil {
		return fmt.Errorf("wait for end of output: %w", err)
	}
	return nil
}

// Shipped returns when everything of the dyno, what is in the pipes of its present life too, is delivered upstream, and to the
// receivers or waited for long enough (Config.ReceiverWait); what a receiver then has not got is given up. An unfinished line
// is not delivered before Finish.
func (l *Logs) Shipped(ctx context.Context, id string) error {
	if err := l.Drained(ctx, id); err != nil {
		return err
	}
	if err := l.shippedUpstream(ctx, id); err != nil {
		return err
	}
	if err := l.drained(ctx, id); err != nil {
		return fmt.Errorf("wait for log receivers: %w", err)
	}
	return nil
}

func (l *Logs) shippedUpstream(ctx context.Context, id string) error {
	for {
		l.mu.Lock()
		d := l.dynos[id]
		if d == nil {
			l.mu.Unlock()
			return nil
		}
		acked, _ := d.cursor()
		changed := d.changed
		l.mu.Unlock()
		tails, err := l.tails(ctx, id)
		if err != nil {
			return fmt.Errorf("wait for delivery: %w", err)
		}
		if acked.Nearest(tails) == tails {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("wait for delivery: %w", ctx.Err())
		}
	}
}

// tails gives where the streams of a dyno end, as soon as the spool can be read.
func (l *Logs) tails(ctx context.Context, id string) (tails spool.Cursor, err error) {
	for {
		if tails, err = spool.Tails(l.dir(id)); err == nil || ctx.Err() != nil {
			return tails, err
		}
		sleep(ctx, readAgain)
	}
}

// forget drops what is known of a dyno; whoever works on it sees that it is removed.
func (l *Logs) forget(id string) {
	l.mu.Lock()
	d := l.dynos[id]
	if d != nil {
		delete(l.dynos, id)
		l.gone.bury(d)
		d.removed = true
		for _, dr := range d.drains {
			if dr.stop != nil {
				dr.stop()
			}
		}
		for _, s := range d.streams {
			s.release()
			l.enqueue(s) // the shipper closes its files
		}
		d.tell()
	}
	l.mu.Unlock()
	if d != nil {
		d.mute(true)
	}
}

// letGo gives back what is held while running. Capture keeps the pipes.
func (l *Logs) letGo() {
	for _, d := range l.each() {
		l.mu.Lock()
		for _, s := range d.streams {
			s.release()
		}
		l.mu.Unlock()
		d.mute(false)
	}
}
