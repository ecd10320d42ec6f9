package capture

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	goruntime "runtime"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// pause follows every round of work: however many writes a dyno makes, they cost one wake-up in this time.
	pause = time.Millisecond
	// tellEvery is the least time between two messages about changes of one stream.
	tellEvery = 10 * time.Millisecond
	// retireEvery is the least time between two attempts to mark ends that the spool did not take.
	retireEvery = 250 * time.Millisecond
	// countBytes is how much of what is discarded is looked at at once.
	countBytes = 64 << 10
)

// server is the one loop that does everything; nothing else touches what it owns. It stays out of Go's netpoller,
// which would wake for each single write.
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
	ended    map[key]*pipe // read to their ends, not all of which is in the spool
	retired  time.Time     // when that was tried last
	resting  time.Time     // until then the disk is left alone
	quotas   map[string]*quota
	host     *host
	store    *store
	changed  map[key]change // not told yet
	buf      []byte         // countBytes
	now      time.Time      // of the present round
}

// newServer owns the listener from the call on.
func newServer(cfg Config, listener int, log *slog.Logger) (*server, error) {
	s := &server{
		cfg: cfg, log: log, listener: listener, conn: -1,
		pipes: map[int]*pipe{}, streams: map[key]*pipe{}, ended: map[key]*pipe{}, quotas: map[string]*quota{},
		host: newHost(cfg), store: &store{fd: -1}, changed: map[key]change{}, buf: make([]byte, countBytes),
	}
	s.stop, s.null, s.epoll = -1, -1, -1
	for _, step := range []func() error{
		func() (err error) { s.epoll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); return err },
		func() (err error) { s.stop, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); return err },
		func() (err error) { s.null, err = unix.Open("/dev/null", unix.O_WRONLY|unix.O_CLOEXEC, 0); return err },
		func() (err error) { s.store, err = newStore(cfg.NotifySocket); return err },
		func() error { return s.watch(s.stop) },
		func() error { return s.watch(listener) },
		func() error { return os.MkdirAll(s.holes(), 0o700) },
	} {
		if err := step(); err != nil {
			s.close()
			return nil, fmt.Errorf("prepare loop: %w", err)
		}
	}
	return s, nil
}

func (s *server) run(ctx context.Context) error {
	goruntime.LockOSThread()
	defer goruntime.UnlockOSThread()
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
	share := int64(max(leastPerPipe, min(perPipe, perRound/max(1, len(events)))))
	more := false
	for _, e := range events {
		more = s.handle(int(e.Fd), share) || more
	}
	s.retire()
	s.store.flush()
	s.tell()
	if len(events) > 0 && !more {
		ts := unix.NsecToTimespec(int64(pause))
		_ = unix.Nanosleep(&ts, nil)
	}
}

// handle serves one ready descriptor. One closed earlier in the round, even if its number is in use again, only costs
// a look: nothing here waits.
func (s *server) handle(fd int, share int64) (more bool) {
	switch p := s.pipes[fd]; {
	case p != nil:
		return s.pump(p, share)
	case fd == s.listener:
		s.accept()
	case fd == s.conn:
		s.receive()
	}
	return false
}

// timeout is how long to wait for events at most, in milliseconds: until there is something else to do.
func (s *server) timeout() int {
	switch {
	case len(s.changed) > 0 && s.conn >= 0, len(s.store.waiting) > 0:
		return int(tellEvery / 2 / time.Millisecond)
	case len(s.ended) > 0:
		return int(retireEvery / time.Millisecond)
	}
	return -1
}

func (s *server) watch(fd int) error {
	return unix.EpollCtl(s.epoll, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(fd)})
}

func (s *server) close() {
	for _, p := range s.pipes {
		_ = p.close()
		s.drop(p)
	}
	for _, p := range s.ended {
		_ = p.close()
	}
	s.store.close()
	s.hangUp()
	closeAll([]int{s.listener, s.stop, s.null, s.epoll})
}

func (s *server) dir(id string) string { return filepath.Join(s.cfg.SpoolDir, id) }
