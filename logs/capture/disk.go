package capture

import (
	"errors"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dynod/dynod/logs/spool"
)

const (
	// patience is how long the loop waits for the disk; it is back before long, or late.
	patience = 20 * time.Millisecond
	// stalled is how long a dyno whose pipe is full waits for the disk: longer than any write takes on one that works, even on a
	// host that is short of CPU.
	stalled = time.Second
	// lastPatience is how long it waits when capture ends.
	lastPatience = 5 * time.Second
)

// disk does everything that touches the spool, on a goroutine of its own: whatever of it hangs, hangs alone. It works
// on one stream at a time, so a disk that hangs holds one thread.
type disk struct {
	todo  chan []*pipe
	done  chan []*pipe
	gone  chan struct{} // closed when the goroutine has ended
	out   bool          // it has work; the loop's, like since
	since time.Time     // it has
	timer *time.Timer   // of take
	late  atomic.Bool   // nobody waits for it: it has to wake the loop
	bound bool          // the lock is kept until the process is gone; told before stop
	wake  int           // eventfd
}

func newDisk() (*disk, error) {
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	return &disk{
		todo: make(chan []*pipe, 1), done: make(chan []*pipe, 1), gone: make(chan struct{}),
		timer: time.NewTimer(0), wake: fd,
	}, err
}

// run works until stop, once it has the lock and prepare is done, which may hang as well. Nothing comes into the spool
// before begin gives no error.
func (d *disk) run(lock *lock, prepare func(), begin func() error) {
	defer close(d.gone)
	defer func() {
		if !d.bound {
			_ = lock.file.Close()
		}
	}()
	if lock.wait() != nil { // never seen; without it nothing may be written
		return
	}
	prepare()
	unfit := begin()
	for batch := range d.todo {
		if unfit != nil {
			unfit = begin()
		}
		for _, p := range batch {
			p.job.run(unfit)
		}
		d.done <- batch
		if d.late.Load() {
			d.rouse()
		}
	}
}

// rouse wakes the loop.
func (d *disk) rouse() { _, _ = unix.Write(d.wake, []byte{1, 0, 0, 0, 0, 0, 0, 0}) }

// give hands work over; only when nothing is out.
func (d *disk) give(batch []*pipe) {
	d.out, d.since = true, time.Now()
	d.todo <- batch
}

func (d *disk) hangs(now time.Time) bool { return d.out && now.Sub(d.since) > stalled }

// take gives back what is done. It waits for it, unless it is late already; nil: it is late.
func (d *disk) take(wait time.Duration) []*pipe {
	if !d.out {
		return nil
	}
	if !d.late.Load() {
		d.timer.Reset(wait)
		select {
		case batch := <-d.done:
			d.timer.Stop()
			d.out = false
			return batch
		case <-d.timer.C:
			d.late.Store(true)
		}
	}
	select {
	case batch := <-d.done:
		d.out = false
		d.late.Store(false)
		return batch
	default:
		return nil
	}
}

// stop ends the goroutine, and tells whether it has ended: one that hangs is left alone.
func (d *disk) stop() bool {
	close(d.todo)
	return within(lastPatience, d.gone)
}

// within waits for a goroutine, and tells whether it has ended.
func within(d time.Duration, done <-chan struct{}) bool {
	select {
	case <-done:
		return true
	case <-time.After(d):
		return false
	}
}

// errEarly says that what is to come before a hole may be brought yet.
var errEarly = errors.New("the hole's stage is missing")

// job is what is to be done for one stream, and what came of it. It is the disk's while the pipe is busy.
type job struct {
	dir     string // of the dyno
	stream  spool.Stream
	segment int64
	stage   int // -1: none
	now     time.Time
	bytes   int64 // in the stage

	writer *spool.Writer // nil: to be opened, and no more
	hole   *spool.Lost   // to be counted after what is in the stage
	until  int64         // where it ends
	torn   bool          // a part of the stage is in it
	early  bool          // a hole that begins beyond the end, or is torn, is left for later
	ended  bool          // a life ended after that; false again when the writer knows
	close  bool
	count  bool // what the dyno has in the spool

	err    error
	closed bool  // the files are given back
	staged int64 // found in the stage of a stream that was opened
	moved  int64 // out of the stage
	grown  int64 // bytes by which files grew
	used   int64 // of the dyno's streams, -1: not known
}

// run does it, in a spool that may be unfit for anything.
func (j *job) run(unfit error) {
	if j.count {
		used, err := spool.Usage(j.dir)
		if j.used = used; err != nil {
			j.used = -1
		}
	}
	if j.err = unfit; unfit != nil {
		return
	}
	if j.writer == nil {
		j.err = j.open()
		return
	}
	before := j.writer.Appended()
	j.err = j.write()
	j.grown = j.writer.Appended() - before
}

// open goes on where the stream ends.
func (j *job) open() error {
	w, err := spool.OpenWriter(j.dir, j.stream, j.segment)
	if err != nil {
		return err
	}
	if j.early && (j.torn || j.hole.From < 0 || j.hole.From > w.Offset()) {
		return errors.Join(errEarly, w.Close())
	}
	if j.stage >= 0 {
		j.staged, err = spool.Available(j.stage)
	}
	if err != nil && !later(err) {
		return errors.Join(err, w.Close())
	}
	j.writer = w
	return nil
}

// write brings into the spool what is in the stage, then what is known of the stream beyond.
func (j *job) write() error {
	for j.moved < j.bytes {
		n, err := j.writer.Splice(j.stage, j.bytes-j.moved, j.now)
		j.moved += n
		if err != nil && !errors.Is(err, unix.EINTR) {
			return err
		}
	}
	known := j.hole == nil && !j.ended
	if j.hole != nil {
		j.writer.Skip(*j.hole, j.until)
	}
	if j.ended {
		_ = j.writer.End() // what it could not do, Close tries
		j.ended = false
	}
	if known && !j.close {
		return nil
	}
	err := j.writer.Close()
	j.closed = err == nil
	return err
}
