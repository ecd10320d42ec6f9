package spool

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"path/filepath"
	"strconv"
	"time"

	"github.com/containerd/errdefs"
)

// MaxReceivers is how many receivers a dyno may have besides the upstream.
const MaxReceivers = 8

// Loss counts messages that will not come and of which a receiver was not told yet.
type Loss struct {
	Lines int64
	Since time.Time // of the first one; zero with 0 Lines
}

// Plus is both losses as one.
func (l Loss) Plus(more Loss) Loss {
	switch {
	case more.Lines == 0:
		return l
	case l.Lines == 0:
		return more
	}
	sum := Loss{Lines: l.Lines + more.Lines, Since: l.Since}
	if more.Since.Before(l.Since) {
		sum.Since = more.Since
	}
	return sum
}

// Progress says how far one receiver besides the upstream is. Everything below Cursor is delivered, or counted in one
// of the losses, or of a loss that it was told.
type Progress struct {
	Cursor  Cursor
	Dropped Loss // never read: gone from the spool
	Lost    Loss // read, but refused by the receiver
}

// progressName is the file of receiver n, counted from 1.
func progressName(n int) string { return cursorName + "-" + strconv.Itoa(n) }

// LoadProgress reads the file of a dyno's receiver n, counted from 1. A missing file is fs.ErrNotExist, an unreadable
// one errdefs.ErrDataLoss.
func LoadProgress(dyno string, n int) (Progress, error) {
	b, err := readSmall(filepath.Join(dyno, progressName(n)))
	if err != nil {
		return Progress{}, err
	}
	return parseProgress(b)
}

func parseProgress(b []byte) (p Progress, err error) {
	var dropped, lost int64
	var sum uint32
	c := &p.Cursor
	_, err = fmt.Sscanf(string(b), "receiver 1 %d %d %d %d %d %d %d %08x\n",
		&c[Stdout], &c[Stderr], &c[Platform], &p.Dropped.Lines, &dropped, &p.Lost.Lines, &lost, &sum)
	p.Dropped.Since, p.Lost.Since = instant(dropped), instant(lost)
	if err != nil || string(b) != p.encode() {
		return Progress{}, fmt.Errorf("read progress: damaged: %w", errdefs.ErrDataLoss)
	}
	if p.Dropped.Lines < 0 || p.Lost.Lines < 0 || !c.possible() {
		return Progress{}, fmt.Errorf("read progress: out of range: %w", errdefs.ErrDataLoss)
	}
	return p, nil
}

func (c Cursor) possible() bool {
	for _, offset := range c {
		if offset < 0 || offset > maxOffset {
			return false
		}
	}
	return true
}

// encode gives the only valid text of a progress, as for a cursor.
func (p Progress) encode() string {
	c := p.Cursor
	text := fmt.Sprintf("receiver 1 %d %d %d %d %d %d %d", c[Stdout], c[Stderr], c[Platform],
		p.Dropped.Lines, nanos(p.Dropped.Since), p.Lost.Lines, nanos(p.Lost.Since))
	return fmt.Sprintf("%s %08x\n", text, crc32.ChecksumIEEE([]byte(text)))
}

func nanos(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixNano()
}

func instant(nanos int64) time.Time {
	if nanos == 0 {
		return time.Time{}
	}
	return time.Unix(0, nanos).UTC()
}

// Store makes the progress of receiver n durable, as Cursor.Store does.
func (p Progress) Store(dyno string, n int) error { return p.write(dyno, n, true) }

// Note is Store for what a power cut may take back: the death of this process does not.
func (p Progress) Note(dyno string, n int) error { return p.write(dyno, n, false) }

func (p Progress) write(dyno string, n int, durable bool) error {
	if err := replace(filepath.Join(dyno, progressName(n)), []byte(p.encode()), durable); err != nil {
		return fmt.Errorf("write progress: %w", err)
	}
	return nil
}

// delivered is the furthest that any receiver is. A damaged file says nothing.
func delivered(dyno string) (Cursor, error) {
	far, err := LoadCursor(dyno)
	for n := 1; n <= MaxReceivers && silent(err); n++ {
		var p Progress
		if p, err = LoadProgress(dyno, n); errors.Is(err, fs.ErrNotExist) {
			break
		}
		far = far.Furthest(p.Cursor)
	}
	if !silent(err) {
		return Cursor{}, err
	}
	return far, nil
}

// silent tells that nothing can be learnt from a file, now or later.
func silent(err error) bool { return err == nil || gone(err) || errdefs.IsDataLoss(err) }

// Furthest is the later of two positions in each stream.
func (c Cursor) Furthest(other Cursor) Cursor {
	for s := range c {
		c[s] = max(c[s], other[s])
	}
	return c
}

// Nearest is the earlier of two positions in each stream.
func (c Cursor) Nearest(other Cursor) Cursor {
	for s := range c {
		c[s] = min(c[s], other[s])
	}
	return c
}
