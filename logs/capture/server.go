package capture

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dynod/dynod/logs/spool"
)

const (
	// pause follows every round of work: however many writes a dyno makes, they cost one wake-up in this time,
	pause = time.Millisecond
	// latePause while the disk hangs: then bytes that wait in the pipes wake as well.
	latePause = 10 * time.Millisecond
	// tellEvery is the least time between two messages about changes of one stream.
	tellEvery = 10 * time.Millisecond
	// retireEvery is the least time between two attempts to mark ends that the spool did not take.
	retireEvery = 250 * time.Millisecond
	// countBytes is how much of what is discarded is looked at at once.
	countBytes = 64 << 10
)

// server is the one loop that does everything but what touches the spool: that is the disk's, and may hang. Nothing else
// touches what it owns. It stays out of Go's netpoller, which would wake for each single write.
type server struct {
	cfg      Config
	log      *slog.Logger
	epoll    int
	stop     int // eventfd
	null     int // where dropped bytes go that cannot go to a hole
	listener int
	conn     int // the agent, -1 without one; the newest wins
	pipes    map[int]*pipe
	streams  map[key]*pipe
	ended    map[key]*pipe // read to their ends, which the spool does not show yet
	retired  time.Time     // when that was tried last
	quotas   map[string]*quota
	host     *host
	disk     *disk
	batch    []*pipe // what the disk is to do next
	spare    []*pipe // room for the next batch
	store    *store
	guard    guard
	over     chan error     // why the loop has ended
	back     chan *pipe     // visits that the loop did not wait for
	outs     int            // those that are to come back
	resting  []*pipe        // not watched for a while after that
	changed  map[key]change // not told yet
	buf      []byte         // countBytes
	now      time.Time      // of the present round
	began    time.Time
	closing  bool
}

// newServer owns the listener from the call on, and the lock if it gives no error.
func newServer(cfg Config, listener int, lock *lock, log *slog.Logger) (*server, error) {
	s := &server{
		cfg: cfg, log: log, listener: listener, conn: -1, now: time.Now(), began: time.Now(),
		pipes: map[int]*pipe{}, streams: map[key]*pipe{}, ended: map[key]*pipe{}, quotas: map[string]*quota{},
		host: newHost(cfg), store: &store{fd: -1}, changed: map[key]change{}, over: make(chan error, 1), back: make(chan *pipe, 64), buf: make([]byte, countBytes),
	}
	s.stop, s.null, s.epoll = -1, -1, -1
	for _, step := range []func() error{
		func() (err error) { s.epoll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); return err },
		func() (err error) { s.stop, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); return err },
		func() (err error) { s.null, err = unix.Open("/dev/null", unix.O_WRONLY|unix.O_CLOEXEC, 0); return err },
		func() (err error) { s.store, err = newStore(cfg.NotifySocket); return err },
		func() (err error) { s.disk, err = newDisk(); return err },
		func() error { return s.watch(s.stop) },
		func() error { return s.watch(s.disk.wake) },
		func() error { return s.watch(listener) },
	} {
		if err := step(); err != nil {
			s.release()
			return nil, fmt.Errorf("prepare loop: %w", err)
		}
	}
	if err := os.MkdirAll(s.holes(), 0o700); err != nil {
		log.Warn("dropped bytes are counted in memory only", "error", err)
	}
	go s.disk.run(lock, s.prepare, func() error { return spool.Begin(cfg.SpoolDir) })
	return s, nil
}

// prepare is what the disk does first.
func (s *server) prepare() {
	if err := os.MkdirAll(s.cfg.SpoolDir, 0o700); err != nil {
		s.log.Warn("the spool cannot be made", "error", err)
	}
	s.host.look()
	s.host.walk()
}

func (s *server) run(ctx context.Context) error {
	stopped := make(chan struct{})
	cancel := context.AfterFunc(ctx, func() {
		defer close(stopped)
		_, _ = unix.Write(s.stop, []byte{1, 0, 0, 0, 0, 0, 0, 0})
	})
	defer func() {
		if !cancel() {
			<-stopped
		}
	}()
	s.guard.armed.Store(true)
	s.guard.timer = time.AfterFunc(glance, func() { s.watchOver(ctx) })
	defer s.guard.timer.Stop()
	go s.loop(ctx)
	return <-s.over
}

func (s *server) rounds(ctx context.Context) error {
	events := make([]unix.EpollEvent, 256)
	for ctx.Err() == nil {
		n, err := unix.EpollWait(s.epoll, events, s.timeout())
		if err != nil && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("wait for output: %w", err)
		}
		s.round(events[:max(0, n)])
	}
	return nil
}

func (s *server) round(events []unix.EpollEvent) {
	s.now = time.Now()
	s.collect()
	more := s.read(events)
	s.retire()
	s.work()
	for _, e := range events {
		s.handle(int(e.Fd))
	}
	s.collect() // what came back before the wake-up was read has no other
	s.work()
	s.store.flush()
	s.tell()
	if len(events) > 0 && !more {
		s.rest()
	}
}

// read takes what is in the pipes that are ready.
func (s *server) read(events []unix.EpollEvent) (more bool) {
	share := int64(max(leastPerPipe, min(pipeBytes, perRound/max(1, len(events)))))
	for _, e := range events {
		if p := s.pipes[int(e.Fd)]; p != nil && !p.eof {
			more = s.pump(p, share) || more
		}
	}
	return more
}

// handle serves what else is ready. A descriptor closed earlier in the round, even if its number is in use again, only
// costs a look: nothing here waits.
func (s *server) handle(fd int) {
	switch fd {
	case s.disk.wake:
		_, _ = unix.Read(fd, make([]byte, 8))
	case s.listener:
		s.accept()
	case s.conn:
		s.receive()
	}
}

func (s *server) rest() {
	ts := unix.NsecToTimespec(int64(pause))
	if s.disk.late.Load() {
		ts = unix.NsecToTimespec(int64(latePause))
	}
	_ = unix.Nanosleep(&ts, nil)
}

// timeout is how long to wait for events at most, in milliseconds: until there is something else to do.
func (s *server) timeout() int {
	switch {
	case len(s.batch) > 0 && !s.disk.out: // left by a loop that got stuck
		return 0
	case len(s.changed) > 0 && s.conn >= 0, len(s.store.waiting) > 0, len(s.resting) > 0:
		return int(tellEvery / 2 / time.Millisecond)
	case len(s.ended) > 0:
		return int(retireEvery / time.Millisecond)
	}
	return -1
}

func (s *server) watch(fd int) error {
	return unix.EpollCtl(s.epoll, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(fd)})
}

// close brings what is staged or counted into the spool, unless the disk hangs. A visit that does not come back is left to
// the end of the process, with all that it may need; if it moves bytes then, so is the lock.
func (s *server) close() {
	s.await(func() bool { return s.outs == 0 })
	for _, p := range s.streams {
		s.disk.bound = p.out && !p.visit.callOff() || s.disk.bound
	}
	s.closing = true
	for _, streams := range []map[key]*pipe{s.streams, s.ended} {
		for _, p := range streams {
			s.submit(p)
		}
	}
	deadline := time.Now().Add(lastPatience)
	for (len(s.batch) > 0 || s.disk.out) && time.Now().Before(deadline) {
		s.work()
		s.disk.late.Store(false) // it is waited for
		s.apply(s.disk.take(time.Until(deadline)))
	}
	if s.disk.stop() && s.outs == 0 {
		s.release()
	}
}

// release gives back every descriptor.
func (s *server) release() {
	for _, p := range s.streams {
		shut(p.fd, p.stage)
	}
	s.store.close()
	s.hangUp()
	if s.disk != nil {
		closeAll([]int{s.disk.wake})
	}
	closeAll([]int{s.listener, s.stop, s.null, s.epoll})
}

func (s *server) dir(id string) string { return filepath.Join(s.cfg.SpoolDir, id) }
