package spool

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"
)

// folder is an open directory beneath the spool's root. What lies in it is named by bare names.
type folder struct{ *os.File }

// resolve keeps every open beneath the root: whatever stands in the way as a link is refused, not followed.
const resolve = unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS

// The depth of directories beneath the root, which itself may be reached by links.
const (
	dynoDepth   = 1
	streamDepth = 2
)

// openFolder opens the directory path, which lies depth names beneath the root. A missing one is fs.ErrNotExist.
func openFolder(path string, depth int) (folder, error) {
	return walk(path, depth, func(int, string) error { return nil })
}

// makeFolder is openFolder, with everything made that is missing on the way. The root is not: where it is missing a disk
// may be unmounted, and what is written beneath would vanish when it comes back.
func makeFolder(path string, depth int) (folder, error) { return walk(path, depth, makeDir) }

// makeDir makes a directory where there is none; a link or a file in its place is put aside.
func makeDir(at int, name string) error {
	err := unix.Mkdirat(at, name, 0o700)
	if !errors.Is(err, unix.EEXIST) {
		return err
	}
	var st unix.Stat_t
	if err := unix.Fstatat(at, name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil || st.Mode&unix.S_IFMT == unix.S_IFDIR {
		return err
	}
	_ = unix.Renameat(at, name, at, name+foreignSuffix)
	return unix.Mkdirat(at, name, 0o700)
}

// foreignSuffix is put to the names of what stands in the way.
const foreignSuffix = ".foreign"

// foreign tells that what should be a directory of ours is a link or a file.
func foreign(err error) bool { return errors.Is(err, unix.ELOOP) || errors.Is(err, unix.ENOTDIR) }

// gone tells that there is no file of ours: nothing, or something else in its place.
func gone(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || foreign(err) || isAny(err, errNotRegular, unix.ENXIO, unix.ENODEV)
}

// broken tells that the disk has no sound answer: unlike a want of descriptors or memory it may stay.
func broken(err error) bool { return isAny(err, unix.EIO, unix.EUCLEAN, unix.EBADMSG) }

func isAny(err error, targets ...error) bool {
	return slices.ContainsFunc(targets, func(target error) bool { return errors.Is(err, target) })
}

// walk goes down to a folder; enter is called before each step.
func walk(path string, depth int, enter func(at int, name string) error) (folder, error) {
	names, root := make([]string, depth), path
	for i := range names {
		names[depth-1-i], root = filepath.Base(root), filepath.Dir(root)
	}
	at, err := unix.Open(root, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	for i, name := range names {
		if err != nil {
			break
		}
		flags := unix.O_PATH
		if i == depth-1 {
			flags = unix.O_RDONLY
		}
		above := at
		if err = enter(above, name); err == nil {
			at, err = openBeneath(above, name, flags|unix.O_DIRECTORY, 0)
		}
		_ = unix.Close(above)
	}
	if err != nil {
		return folder{}, &os.PathError{Op: "open", Path: path, Err: err}
	}
	return folder{os.NewFile(uintptr(at), path)}, nil
}

func openBeneath(at int, name string, flags int, mode uint64) (int, error) {
	how := unix.OpenHow{Flags: uint64(flags | unix.O_CLOEXEC | unix.O_NOFOLLOW), Mode: mode, Resolve: resolve}
	for {
		fd, err := unix.Openat2(at, name, &how)
		if !errors.Is(err, unix.EINTR) {
			return fd, err
		}
	}
}

var errNotRegular = errors.New("not a regular file")

// open opens a file that is nothing that could block or lead elsewhere.
func (d folder) open(name string, flags int) (*os.File, error) {
	var mode uint64
	if flags&unix.O_CREAT != 0 {
		mode = 0o600
	}
	fd, err := openBeneath(int(d.Fd()), name, flags|unix.O_NONBLOCK, mode)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: filepath.Join(d.Name(), name), Err: err}
	}
	var st unix.Stat_t
	if err := regular(&st, unix.Fstat(fd, &st)); err != nil {
		return nil, errors.Join(fmt.Errorf("open %s: %w", name, err), unix.Close(fd))
	}
	return os.NewFile(uintptr(fd), filepath.Join(d.Name(), name)), nil
}

// create makes a file anew; what has its name and cannot be ours is put out of the way.
func (d folder) create(name string) (*os.File, error) {
	f, err := d.open(name, unix.O_RDWR|unix.O_CREAT|unix.O_EXCL)
	if !errors.Is(err, unix.EEXIST) {
		return f, err
	}
	if err := d.remove(name); err != nil && !errors.Is(err, unix.ENOENT) {
		_ = unix.Renameat(int(d.Fd()), name, int(d.Fd()), name+foreignSuffix) // a directory
	}
	return d.open(name, unix.O_RDWR|unix.O_CREAT|unix.O_EXCL)
}

func (d folder) remove(name string) error { return unix.Unlinkat(int(d.Fd()), name, 0) }

// regular is the error of a stat, or errNotRegular.
func regular(st *unix.Stat_t, err error) error {
	if err == nil && st.Mode&unix.S_IFMT != unix.S_IFREG {
		return errNotRegular
	}
	return err
}

// stat gives a regular file's data.
func (d folder) stat(name string) (unix.Stat_t, error) {
	var st unix.Stat_t
	err := unix.Fstatat(int(d.Fd()), name, &st, unix.AT_SYMLINK_NOFOLLOW)
	return st, regular(&st, err)
}

// size is the length of a regular file in bytes, 0 for anything else.
func (d folder) size(name string) (int64, error) {
	st, err := d.stat(name)
	if err == nil {
		return st.Size, nil
	}
	if gone(err) {
		return 0, nil
	}
	return 0, fmt.Errorf("look at %s: %w", name, err)
}

// openRegular opens a file of a stream by its path.
func openRegular(path string, flags int) (*os.File, error) {
	d, err := openFolder(filepath.Dir(path), streamDepth)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	return d.open(filepath.Base(path), flags)
}

// regularSize is the length of a file of a stream in bytes, 0 for anything that is no regular file.
func regularSize(path string) (int64, error) {
	d, err := openFolder(filepath.Dir(path), streamDepth)
	if gone(err) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	defer d.Close()
	return d.size(filepath.Base(path))
}
