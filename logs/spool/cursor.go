package spool

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"path/filepath"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"
)

const cursorName = "cursor"

// Cursor says how far the streams of one dyno are delivered: everything below Cursor[stream] is. It stands where a
// line begins.
type Cursor [len(Streams) + 1]int64

// LoadCursor reads a dyno's cursor. A missing file is fs.ErrNotExist, an unreadable one errdefs.ErrDataLoss.
func LoadCursor(dyno string) (Cursor, error) {
	b, err := readSmall(filepath.Join(dyno, cursorName))
	if err != nil {
		return Cursor{}, err
	}
	return parseCursor(b)
}

func parseCursor(b []byte) (Cursor, error) {
	var c Cursor
	var sum uint32
	_, err := fmt.Sscanf(string(b), "cursor 1 %d %d %d %08x\n", &c[Stdout], &c[Stderr], &c[Platform], &sum)
	if err != nil || string(b) != c.encode() {
		return Cursor{}, fmt.Errorf("read cursor: damaged: %w", errdefs.ErrDataLoss)
	}
	for _, offset := range c {
		if offset < 0 || offset > maxOffset {
			return Cursor{}, fmt.Errorf("read cursor: position out of range: %w", errdefs.ErrDataLoss)
		}
	}
	return c, nil
}

// encode gives the only valid text of a cursor: the reader compares, so any damage shows.
func (c Cursor) encode() string {
	text := fmt.Sprintf("cursor 1 %d %d %d", c[Stdout], c[Stderr], c[Platform])
	return fmt.Sprintf("%s %08x\n", text, crc32.ChecksumIEEE([]byte(text)))
}

// Store makes the cursor durable: it is on disk, whole, when Store returns nil. One caller at a time.
func (c Cursor) Store(dyno string) error {
	if err := writeSync(filepath.Join(dyno, cursorName), []byte(c.encode())); err != nil {
		return fmt.Errorf("write cursor: %w", err)
	}
	return nil
}

// readSmall reads a file in a dyno's directory. A missing one is fs.ErrNotExist, what cannot be ours or be read for good
// errdefs.ErrDataLoss.
func readSmall(path string) ([]byte, error) {
	d, err := openFolder(filepath.Dir(path), dynoDepth)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	b, err := d.readSmall(filepath.Base(path))
	switch {
	case err == nil || errors.Is(err, fs.ErrNotExist):
		return b, err
	case gone(err) || broken(err):
		err = errors.Join(errdefs.ErrDataLoss, err)
	}
	return nil, fmt.Errorf("read %s: %w", filepath.Base(path), err)
}

// writeSync replaces a file in a dyno's directory: it is on disk, whole, when writeSync returns nil.
func writeSync(path string, b []byte) error { return replace(path, b, true) }

// replace is writeSync; not durable, a power cut may leave the file as it was, or damaged.
func replace(path string, b []byte, durable bool) error {
	d, err := openFolder(filepath.Dir(path), dynoDepth)
	if err != nil {
		return err
	}
	defer d.Close()
	name := filepath.Base(path)
	f, err := d.create(name + ".new")
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if durable {
		err = errors.Join(err, f.Sync())
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	err = unix.Renameat(int(d.Fd()), name+".new", int(d.Fd()), name)
	if err == nil && durable {
		err = d.Sync()
	}
	return err
}
