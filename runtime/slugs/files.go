package slugs

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	goruntime "runtime"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

// A writer is given so much of small files at a time. What is larger is written as it is read.
const (
	batchBytes = 256 << 10
	batchFiles = 256
)

// files writes new regular files below a directory, several at once: making a file waits for the disk's journal. The kernel
// refuses a name that leads through a link or out of the directory.
type files struct {
	ctx     context.Context //nolint:containedctx // of the writers: it ends with the first that fails
	stop    context.CancelFunc
	root    *os.Root
	top     *os.File // the same
	group   *errgroup.Group
	batches []*batch // being filled, one a writer
	queues  []chan *batch
	empty   chan *batch
}

func newFiles(ctx context.Context, top string) (*files, error) {
	root, err := os.OpenRoot(top)
	if err != nil {
		return nil, fmt.Errorf("open slug directory: %w", err)
	}
	dir, err := root.Open(".")
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open slug directory: %w", err), root.Close())
	}
	f := &files{root: root, top: dir}
	ctx, f.stop = context.WithCancel(ctx)
	f.group, f.ctx = errgroup.WithContext(ctx)
	n := min(goruntime.NumCPU(), 4)
	f.empty = make(chan *batch, 3*n) // of each writer: one filled, one waiting, one written
	for range cap(f.empty) - n {
		f.empty <- &batch{}
	}
	for range n {
		queue := make(chan *batch, 1)
		f.batches, f.queues = append(f.batches, &batch{}), append(f.queues, queue)
		f.group.Go(func() error { return f.write(queue) })
	}
	return f, nil
}

// add takes a file whose directory has this hash: files of one directory wait for one another, so one writer has them all.
func (f *files) add(h *tar.Header, content io.Reader, dir uint64) error {
	if h.Size > batchBytes {
		return f.create(h, content)
	}
	n := dir % uint64(len(f.queues))
	if len(f.batches[n].data)+int(h.Size) > batchBytes || len(f.batches[n].headers) == batchFiles {
		if err := f.pass(n); err != nil {
			return err
		}
	}
	return f.batches[n].add(h, content)
}

// pass gives a writer its batch, and begins the next one.
func (f *files) pass(n uint64) error {
	select {
	case f.queues[n] <- f.batches[n]:
	case <-f.ctx.Done():
		return context.Cause(f.ctx)
	}
	select {
	case f.batches[n] = <-f.empty:
	case <-f.ctx.Done():
		return context.Cause(f.ctx)
	}
	return nil
}

// finish writes what was added to its end.
func (f *files) finish() error {
	for n := range f.batches {
		if f.pass(uint64(n)) != nil {
			break // close says why
		}
	}
	return f.close()
}

// close waits for the writers, and says what the first of them that failed did. One that is stopped leaves its queue.
func (f *files) close() error {
	for _, queue := range f.queues {
		close(queue)
	}
	err := f.group.Wait()
	f.stop()
	return errors.Join(err, f.top.Close(), f.root.Close())
}

func (f *files) write(queue <-chan *batch) error {
	for b := range queue {
		content := bytes.NewBuffer(b.data)
		for _, h := range b.headers {
			if err := errors.Join(f.ctx.Err(), f.create(h, bytes.NewReader(content.Next(int(h.Size))))); err != nil {
				return err
			}
		}
		b.headers, b.data = b.headers[:0], b.data[:0]
		f.empty <- b
	}
	return nil
}

func (f *files) create(h *tar.Header, content io.Reader) error {
	to, err := f.open(h)
	if errors.Is(err, unix.ENOENT) {
		if err := f.root.MkdirAll(path.Dir(h.Name), 0o755); err != nil {
			return err
		}
		to, err = f.open(h)
	}
	if err != nil {
		return fmt.Errorf("make file %q: %w", h.Name, err)
	}
	_, err = io.Copy(to, content)
	return errors.Join(err, dress(to, h), to.Close())
}

func (f *files) open(h *tar.Header) (*os.File, error) {
	fd, err := unix.Openat2(int(f.top.Fd()), h.Name, &unix.OpenHow{
		Flags: unix.O_WRONLY | unix.O_CREAT | unix.O_EXCL | unix.O_CLOEXEC, Mode: uint64(h.Mode),
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS,
	})
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), h.Name), nil
}

// dress gives a file what its header says about it, whatever the umask.
func dress(f *os.File, h *tar.Header) error {
	fd := int(f.Fd())
	changed, err := unix.TimeToTimespec(h.ModTime)
	if err != nil || h.ModTime.Before(time.Unix(0, 0)) {
		changed = unix.Timespec{}
	}
	return errors.Join(unix.Fchown(fd, h.Uid, h.Gid), unix.Fchmod(fd, uint32(h.Mode)),
		unix.UtimesNanoAt(fd, "", []unix.Timespec{changed, changed}, unix.AT_EMPTY_PATH))
}

// batch is some small files, the content of one behind another's.
type batch struct {
	headers []*tar.Header
	data    []byte
}

func (b *batch) add(h *tar.Header, content io.Reader) error {
	if b.data == nil {
		b.data = make([]byte, 0, batchBytes)
	}
	n := len(b.data)
	b.data = b.data[:n+int(h.Size)]
	b.headers = append(b.headers, h)
	_, err := io.ReadFull(content, b.data[n:])
	return err
}
