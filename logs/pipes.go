package logs

import (
	"context"
	"fmt"
	"os"
	"sync/atomic"
	"time"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"

	"github.com/dynod/dynod/logs/capture"
)

const (
	// sealWait is how long Open waits for an older life's pipes to reach end of file by themselves.
	sealWait = 2 * time.Second
	// askTimeout bounds every call that needs capture, its restart included.
	askTimeout = 10 * time.Second
)

// Pipes are the streams of one life of a dyno. All four are the caller's to close. Stdout and Stderr are write ends:
// end of file comes when the last copy of one is closed. KeepStdout and KeepStderr are read ends that nobody reads; held
// beside the dyno they keep a writer from SIGPIPE, and Restore takes them.
type Pipes struct{ Stdout, Stderr, KeepStdout, KeepStderr *os.File }

// Close closes all four.
func (p Pipes) Close() {
	for _, f := range []*os.File{p.Stdout, p.Stderr, p.KeepStdout, p.KeepStderr} {
		if f != nil {
			_ = f.Close()
		}
	}
}

// Open begins a new life of the dyno's streams with fresh pipes; positions go on. Should an older life still have a
// writer after a short wait, it is ended: what its pipes hold is kept, what is written later is not. It fails with
// errdefs.ErrUnavailable while the spool takes no files.
func (l *Logs) Open(ctx context.Context, id string) (Pipes, error) {
	if err := checkID(id); err != nil {
		return Pipes{}, err
	}
	if err := l.settle(ctx, id); err != nil {
		return Pipes{}, fmt.Errorf("open streams: %w", err)
	}
	var claimed atomic.Bool // by this call when it gives up, or by the answer
	result := make(chan Pipes, 1)
	err := l.ask(ctx, capture.Message{Kind: capture.Open, ID: id}, nil, func(_ capture.Message, fds []int) {
		if p := l.begin(id, fds); claimed.CompareAndSwap(false, true) {
			result <- p
		} else {
			p.Close()
		}
	})
	if err != nil && claimed.CompareAndSwap(false, true) {
		return Pipes{}, fmt.Errorf("open streams: %w", err)
	}
	p := <-result
	if p.Stdout == nil {
		return Pipes{}, fmt.Errorf("open streams: capture gave no pipes: %w", errdefs.ErrInternal)
	}
	return p, nil
}

// settle waits a bounded time for the end of an older life.
func (l *Logs) settle(ctx context.Context, id string) error {
	short, cancel := context.WithTimeout(ctx, sealWait)
	defer cancel()
	_ = l.await(short, id, func(d *dyno) bool { return !d.held() })
	return ctx.Err()
}

// begin takes the descriptors of an answer: write ends of out and err, then their read ends.
func (l *Logs) begin(id string, fds []int) Pipes {
	if len(fds) != 4 {
		closeAll(fds)
		return Pipes{}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	d := l.find(id)
	d.finished = false
	for i, s := range []Stream{Stdout, Stderr} {
		d.stream(s).keep(duplicate(fds[2+i]))
	}
	d.tell()
	return Pipes{
		Stdout: os.NewFile(uintptr(fds[0]), "stdout"), Stderr: os.NewFile(uintptr(fds[1]), "stderr"),
		KeepStdout: os.NewFile(uintptr(fds[2]), "stdout"), KeepStderr: os.NewFile(uintptr(fds[3]), "stderr"),
	}
}

// keep holds a read end in place of the one before.
func (s *stream) keep(fd int) {
	s.release()
	s.hold = fd
}

func duplicate(fd int) int {
	dup, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return -1
	}
	return dup
}

func closeAll(fds []int) {
	for _, fd := range fds {
		_ = unix.Close(fd)
	}
}

// Restore hands capture the read ends of a dyno's pipes, for when capture and agent were both gone meanwhile; the
// files stay the caller's. A nil file, and a stream that capture already reads, is left out.
func (l *Logs) Restore(ctx context.Context, id string, stdout, stderr *os.File) error {
	if err := checkID(id); err != nil {
		return err
	}
	if _, err := l.connected(ctx); err != nil {
		return err
	}
	for s, f := range map[Stream]*os.File{Stdout: stdout, Stderr: stderr} {
		if f == nil {
			continue
		}
		if m, fd, ok := l.restoring(Key{id, s}, int(f.Fd())); ok {
			err := l.ask(ctx, m, []int{fd}, nil)
			if closeAll([]int{fd}); err != nil {
				return fmt.Errorf("restore streams: %w", err)
			}
		}
	}
	return nil
}

// restoring holds a read end before capture is asked to read it, so that whatever fails the next connection asks
// again. It gives the request and a descriptor to send and close, or false if the stream is held already.
func (l *Logs) restoring(k Key, fd int) (capture.Message, int, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.find(k.Dyno).stream(k.Stream)
	if s.hold >= 0 {
		return capture.Message{}, -1, false
	}
	s.keep(duplicate(fd))
	return restoreMessage(k), duplicate(fd), true
}

func restoreMessage(k Key) capture.Message {
	return capture.Message{Kind: capture.Restore, ID: k.Dyno, Mask: capture.Mask(0).With(k.Stream)}
}

// Holds tells whether capture holds pipes of this dyno that have not reached end of file.
func (l *Logs) Holds(ctx context.Context, id string) (bool, error) {
	if err := checkID(id); err != nil {
		return false, err
	}
	if _, err := l.connected(ctx); err != nil {
		return false, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	d := l.dynos[id]
	return d != nil && d.held(), nil
}
