package spool

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// bootPrefix begins the name of the file in the spool's root that says in which boot of the host the spool was last in
// use. It is a name alone, so that a full disk takes the next one.
const bootPrefix = "boot-"

// margin is how far a stream goes on behind what is known of it where positions may have been given that left no trace:
// more than a stream can come by until its cursor is on disk.
const margin = 1 << 36

// Begin must have returned before a stream is read or written. A power cut may have taken bytes that receivers have: so
// that no other byte gets the position of such a one, in another boot of the host each stream goes on a margin behind its
// end, with the end of a life there. The hole is told like any other; nobody knows what was in it. Called again, or by
// two processes at once, it does nothing more. After an error about single streams the others are safe.
func Begin(root string) error {
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err == nil {
		err = begin(root, strings.TrimSpace(string(boot)))
	}
	if err != nil {
		return fmt.Errorf("begin spool: %w", err)
	}
	return nil
}

func begin(root, boot string) error {
	d, err := os.Open(root)
	if err != nil {
		return err
	}
	defer d.Close() // which unlocks it
	if err := lock(d); err != nil {
		return err
	}
	names, err := d.Readdirnames(-1)
	if err != nil {
		return err
	}
	now, was := bootPrefix+boot, ""
	for _, name := range names {
		switch {
		case name == now:
			return nil
		case strings.HasPrefix(name, bootPrefix):
			was = name
		}
	}
	if was == "" { // in use for the first time
		return errors.Join(os.WriteFile(filepath.Join(root, now), nil, 0o600), d.Sync())
	}
	err = jumpAll(root, names)
	return errors.Join(err, os.Rename(filepath.Join(root, was), filepath.Join(root, now)), d.Sync())
}

func lock(d *os.File) error {
	for {
		if err := unix.Flock(int(d.Fd()), unix.LOCK_EX); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// jumpAll ends all lives a margin behind what is known of them.
func jumpAll(root string, names []string) error {
	var errs []error
	for _, id := range names {
		for _, s := range Streams {
			if ValidID(id) {
				errs = append(errs, jump(filepath.Join(root, id), s))
			}
		}
	}
	return errors.Join(errs...)
}

func jump(dyno string, s Stream) error {
	far, err := delivered(dyno)
	if err != nil {
		return err
	}
	d, err := openFolder(Dir(dyno, s), streamDepth)
	if gone(err) {
		if far[s] == 0 {
			return nil
		}
		d, err = makeFolder(Dir(dyno, s), streamDepth)
	}
	if err != nil {
		return err
	}
	defer d.Close()
	l, err := d.list()
	if err == nil {
		err = d.cutZeros(l)
	}
	if err != nil {
		return err
	}
	tail, err := d.tail(l, far[s])
	if err != nil || tail == 0 {
		return err
	}
	return d.makeEnd(tail + margin)
}

// largestBlock of a file system, bytes.
const largestBlock = 64 << 10

// cutZeros takes the zeros from the end of the last segment that has bytes, a block of them at most. Where bytes are added to a
// block that is on disk, ext4 may have the file's new length there before it has them.
func (d folder) cutZeros(l Listing) error {
	for _, start := range slices.Backward(l.Segments) {
		name := fileName(start, segmentSuffix)
		size, err := d.size(name)
		if err != nil {
			return err
		}
		if size > 0 {
			return d.cutEnd(name, size)
		}
	}
	return nil
}

func (d folder) cutEnd(name string, size int64) error {
	f, err := d.open(name, os.O_RDWR)
	if err != nil {
		return err
	}
	defer f.Close()
	end := make([]byte, min(size, largestBlock))
	if _, err := f.ReadAt(end, size-int64(len(end))); err != nil {
		return err
	}
	zeros := len(end) - len(bytes.TrimRight(end, "\x00"))
	if zeros == 0 {
		return nil
	}
	return errors.Join(f.Truncate(size-int64(zeros)), f.Sync())
}

// Sync returns when what was written to the spool before is on disk. It may take long.
func Sync(root string) error {
	d, err := os.Open(root)
	if err != nil {
		return fmt.Errorf("sync spool: %w", err)
	}
	defer d.Close()
	if err := unix.Syncfs(int(d.Fd())); err != nil {
		return fmt.Errorf("sync spool: %w", err)
	}
	return nil
}
