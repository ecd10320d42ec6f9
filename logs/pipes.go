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

// Pipes are the streams of one life of a dyno. All are the caller's to close. Stdout and Stderr are write ends: end of file
// comes when the last copy of one is closed. Keep is what holds what was written and is not on disk yet; held beside the dyno it
// keeps a writer from SIGPIPE, and Restore takes it.
type Pipes struct {
	Stdout, Stderr *os.File
	Keep           []*os.File
}

// Close closes all of them.
func (p Pipes) Close() {
	for _, f := range append([]*os.File{p.Stdout, p.Stderr}, p.Keep...) {
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

// begin takes the descriptors of an answer: of out and err the write ends, then the read ends, then the stages.
func (l *Logs) begin(id string, fds []int) Pipes {
	if len(fds) != 6 {
		closeAll(fds)
		return Pipes{}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	d := l.find(id)
	d.finished = false
	for i, s := range []Stream{Stdout, Stderr} {
		d.stream(s).keep(duplicate(fds[2+i]), duplicate(fds[4+i]), true)
	}
	d.tell()
	p := Pipes{Stdout: os.NewFile(uintptr(fds[0]), "stdout"), Stderr: os.NewFile(uintptr(fds[1]), "stderr")}
	for _, fd := range fds[2:] {
		p.Keep = append(p.Keep, os.NewFile(uintptr(fd), "kept"))
	}
	return p
}

// keep holds a read end and its stage, -1 without one, in place of those before. Capture reads them, or has to be asked to.
func (s *stream) keep(fd, stage int, read bool) {
	s.release()
	s.hold, s.stage, s.read = fd, stage, read
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
		if fd >= 0 {
			_ = unix.Close(fd)
		}
	}
}

// Restore hands capture what was kept of a dyno's pipes, for when capture and agent were both gone meanwhile; the files
// stay the caller's. They are in the order of Pipes.Keep, of which the stages may be missing. A stream that capture
// already reads is left out: an agent may have been killed between one and the other.
func (l *Logs) Restore(ctx context.Context, id string, kept []*os.File) error {
	if err := checkID(id); err != nil {
		return err
	}
	if len(kept) != 2 && len(kept) != 4 {
		return fmt.Errorf("restore streams: %d files: %w", len(kept), errdefs.ErrInvalidArgument)
	}
	if _, err := l.connected(ctx); err != nil {
		return err
	}
	for i, s := range []Stream{Stdout, Stderr} {
		fd, stage := int(kept[i].Fd()), -1
		if len(kept) == 4 {
			stage = int(kept[2+i].Fd())
		}
		if err := l.restore(ctx, Key{id, s}, fd, stage); err != nil {
			return fmt.Errorf("restore streams: %w", err)
		}
	}
	return nil
}

func (l *Logs) restore(ctx context.Context, k Key, fd, stage int) error {
	m, fds := l.restoring(k, fd, stage)
	defer closeAll(fds)
	if fds == nil {
		return nil
	}
	return l.ask(ctx, m, fds, l.restored(k))
}

// restoring holds descriptors before capture is asked to read them, so that whatever fails the next connection asks
// again, and so does a caller whom capture refuses. It gives the request and descriptors to send and close, none if capture
// reads the stream.
func (l *Logs) restoring(k Key, fd, stage int) (capture.Message, []int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.find(k.Dyno).stream(k.Stream)
	if s.read {
		return capture.Message{}, nil
	}
	if s.hold < 0 {
		s.keep(duplicate(fd), duplicate(stage), false)
	}
	return restoreMessage(k), s.copies()
}

// copies duplicates what is held.
func (s *stream) copies() []int {
	fds := []int{duplicate(s.hold)}
	if s.stage >= 0 {
		fds = append(fds, duplicate(s.stage))
	}
	return fds
}

func restoreMessage(k Key) capture.Message {
	return capture.Message{Kind: capture.Restore, ID: k.Dyno, Mask: capture.Mask(0).With(k.Stream)}
}
