package slugs

import (
	"archive/tar"
	"bufio"
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"os"
	"path"

	"github.com/containerd/containerd/v2/pkg/archive"
)

// spread writes what rules accept of a tar below top.
//
// Regular files come first, written by several at once. Directories and links follow at the end, in the tar's order. So there
// is no link anywhere while more than one writes, and none can lead a writer elsewhere. A tar in which that order makes a
// difference, because a name comes twice or below what is no directory, goes on in its own order from there.
func spread(ctx context.Context, top string, stream io.Reader, rules *rules) (err error) {
	u := unpacking{ctx: ctx, top: top, seed: maphash.MakeSeed(), names: map[uint64]bool{}}
	if err := u.open(); err != nil {
		return err
	}
	defer func() { u.close(err) }()
	for in := tar.NewReader(stream); ctx.Err() == nil; {
		h, err := in.Next()
		if errors.Is(err, io.EOF) {
			return u.finish()
		}
		accepted := false
		if err == nil {
			accepted, err = rules.accept(h)
		}
		if err == nil && accepted {
			err = u.add(h, in)
		}
		if err != nil {
			return err
		}
	}
	return ctx.Err()
}

type unpacking struct {
	ctx     context.Context
	top     string
	seed    maphash.Seed
	names   map[uint64]bool // hashes of the names so far, true if a directory's; two with the same are taken for one
	files   *files          // nil once they are written
	held    *os.File        // a tar of what waits
	waiting *tar.Writer
	ordered *writer // of everything, once the order matters
}

func (u *unpacking) open() (err error) {
	if u.held, err = os.CreateTemp(path.Dir(u.top), partial); err != nil {
		return fmt.Errorf("make file: %w", err)
	}
	u.waiting = tar.NewWriter(u.held)
	err = os.Remove(u.held.Name()) // it needs no name
	if err == nil {
		u.files, err = newFiles(u.ctx, u.top)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("begin to unpack: %w", err), u.held.Close())
	}
	return nil
}

func (u *unpacking) add(h *tar.Header, content io.Reader) error {
	if u.ordered == nil && u.clash(h) {
		if err := u.finish(); err != nil {
			return err
		}
		u.ordered = newWriter(u.ctx, u.top)
	}
	switch {
	case u.ordered != nil:
		return u.ordered.write(h, content)
	case h.Typeflag != tar.TypeReg:
		return u.waiting.WriteHeader(h)
	}
	return u.files.add(h, content, u.hash(path.Dir(h.Name)))
}

func (u *unpacking) hash(name string) uint64 { return maphash.String(u.seed, name) }

// clash says whether an entry must come after those before it, and notes its names.
func (u *unpacking) clash(h *tar.Header) bool {
	dir := h.Typeflag == tar.TypeDir
	was, known := u.names[u.hash(h.Name)]
	u.names[u.hash(h.Name)] = dir
	if known && (!was || !dir) {
		return true
	}
	for above := parent(h.Name); above != ""; above = parent(above) {
		was, known := u.names[u.hash(above)]
		if known {
			return !was // what is above a directory is one too
		}
		u.names[u.hash(above)] = true
	}
	return false
}

// finish writes to the end what was added so far.
func (u *unpacking) finish() error {
	files, ordered := u.files, u.ordered
	u.files, u.ordered = nil, nil
	if ordered != nil {
		return ordered.close(nil)
	}
	if err := errors.Join(files.finish(), u.waiting.Close()); err != nil {
		return err
	}
	if _, err := u.held.Seek(0, io.SeekStart); err != nil {
		return err
	}
	return apply(u.ctx, u.top, bufio.NewReader(u.held))
}

// close ends what finish has not.
func (u *unpacking) close(err error) {
	if u.files != nil {
		u.files.stop()
		_ = u.files.close()
	}
	if u.ordered != nil {
		_ = u.ordered.close(err)
	}
	_ = u.held.Close()
}

// ahead is how far a tar may be before what is written of it, in bytes.
const ahead = 1 << 20

// writer applies a tar in a goroutine of its own.
type writer struct {
	tar  *tar.Writer
	room *bufio.Writer
	pipe *io.PipeWriter
	done chan error
}

func newWriter(ctx context.Context, top string) *writer {
	r, w := io.Pipe()
	room := bufio.NewWriterSize(w, ahead)
	x := &writer{tar: tar.NewWriter(room), room: room, pipe: w, done: make(chan error, 1)}
	go func() {
		err := apply(ctx, top, bufio.NewReaderSize(r, ahead))
		_ = r.CloseWithError(err)
		x.done <- err
	}()
	return x
}

func (w *writer) write(h *tar.Header, content io.Reader) error {
	if err := w.tar.WriteHeader(h); err != nil {
		return err
	}
	_, err := io.Copy(w.tar, content)
	return err
}

func (w *writer) close(err error) error {
	if err == nil {
		err = errors.Join(w.tar.Close(), w.room.Flush())
	}
	_ = w.pipe.CloseWithError(err) // of nil: the end
	if failed := <-w.done; failed != nil {
		return failed
	}
	return err
}

// apply writes a whole tar, to the end of the stream.
func apply(ctx context.Context, top string, stream io.Reader) error {
	// A file name that a container image layer would take for a deletion is an ordinary one here.
	ordinary := func(*tar.Header, string) (bool, error) { return true, nil }
	if _, err := archive.Apply(ctx, top, stream, archive.WithConvertWhiteout(ordinary)); err != nil {
		return err
	}
	_, err := io.Copy(io.Discard, stream)
	return err
}
