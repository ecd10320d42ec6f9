// Package trees removes directories with everything in them, whatever their shape: who filled them may have meant harm. It
// follows no link, and does not look for mounts.
package trees

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

const (
	// levels is how far down a removal goes, and so how many descriptors it has, unless it must.
	levels = 32
	// batch is how many names of a directory are read at a time.
	batch = 1024
)

// Remove removes a directory and what is in it, as os.RemoveAll does, but needs no more descriptors for a deep one: what lies
// too deep is moved up into the directory itself, under a number. Nobody else may change anything in it meanwhile. It does as
// much as it can, until ctx ends; nil when nothing is left, otherwise it may be called again.
func Remove(ctx context.Context, dir string) error {
	top, err := open(unix.AT_FDCWD, dir)
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	if err == nil {
		r := removal{ctx: ctx, top: int(top.Fd())}
		err = errors.Join(r.all(top), top.Close())
	}
	if err == nil {
		err = unlink(unix.AT_FDCWD, dir, unix.AT_REMOVEDIR)
	}
	if err != nil {
		return fmt.Errorf("remove %s: %w", dir, err)
	}
	return nil
}

type removal struct {
	ctx    context.Context //nolint:containedctx // of one call
	top    int
	number int  // of what is moved up next
	moved  bool // something was
}

// all empties the top, until nothing is moved up into it any more.
func (r *removal) all(top *os.File) error {
	for {
		r.moved = false
		err := r.empty(top, 0)
		if !r.moved || r.ctx.Err() != nil {
			return err
		}
		if _, err := top.Seek(0, io.SeekStart); err != nil {
			return err
		}
	}
}

// empty returns the first error, having gone on with the rest.
func (r *removal) empty(dir *os.File, level int) (failed error) {
	fd := int(dir.Fd())
	for r.ctx.Err() == nil {
		names, err := dir.Readdirnames(batch)
		for _, name := range names {
			if err := r.remove(fd, name, level); failed == nil {
				failed = err
			}
		}
		if errors.Is(err, io.EOF) {
			return failed
		}
		if err != nil {
			return errors.Join(failed, err)
		}
	}
	return r.ctx.Err()
}

// remove is for an entry of a directory of this level.
func (r *removal) remove(from int, name string, level int) error {
	if err := r.ctx.Err(); err != nil {
		return err
	}
	err := unlink(from, name, 0)
	if !errors.Is(err, unix.EISDIR) {
		return err
	}
	if level >= levels && r.moveUp(from, name) {
		return nil
	}
	dir, err := open(from, name)
	if err == nil {
		err = errors.Join(r.empty(dir, level+1), dir.Close())
	}
	if err != nil {
		return err
	}
	return unlink(from, name, unix.AT_REMOVEDIR)
}

// moveUp takes a number that is free: an earlier removal may have been interrupted. False if it cannot be moved: the disk may be
// full, and a dyno without a user namespace can give directories to other projects than its own.
func (r *removal) moveUp(from int, name string) bool {
	err := error(unix.EEXIST)
	for ; errors.Is(err, unix.EEXIST); r.number++ {
		err = unix.Renameat2(from, name, r.top, strconv.Itoa(r.number), unix.RENAME_NOREPLACE)
	}
	r.moved = r.moved || err == nil
	return err == nil
}

func open(from int, name string) (*os.File, error) {
	fd, err := unix.Openat(from, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "openat", Path: name, Err: err}
	}
	return os.NewFile(uintptr(fd), name), nil
}

// unlink is nil for what is gone.
func unlink(from int, name string, flags int) error {
	err := unix.Unlinkat(from, name, flags)
	if err == nil || errors.Is(err, unix.ENOENT) {
		return nil
	}
	return &os.PathError{Op: "unlinkat", Path: name, Err: err}
}
