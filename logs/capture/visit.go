package capture

import (
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dynod/dynod/logs/spool"
)

// asideBytes is how much of what is discarded is looked at at once where the loop's own room is not to be had.
const asideBytes = 16 << 10

// errand is what a visit is paid for.
type errand uint8

const (
	fetch   errand = iota // stage what is there
	toss                  // discard it
	relieve               // discard it if there is no room for more
	look                  // only see whether the pipe is at its end
)

// visit is one look into a dyno's pipe, with what is done there and what came of it. Every call that takes the pipe's lock
// belongs here, because a dyno can hold that lock for as long as it likes: by splice(2) from where nothing comes. Nobody else
// touches the pipe, the stage and the hole meanwhile.
type visit struct {
	errand
	fd, stage, null int
	limit           int64 // bytes to be staged at most
	hole            *hole // nil: to be made if it is needed,
	path            string
	from            int64 // where it begins then
	now             time.Time
	buf             []byte // nil: to be made

	begun atomic.Bool // to move bytes; or it never will

	there int64 // bytes found; 0 and no error: the pipe is at its end
	moved int64 // into the stage
	err   error
	noted error // from making a hole
}

// pay asks first, which is where it waits for the lock: then it can be called off still.
func (v *visit) pay() {
	v.there, v.err = spool.Available(v.fd)
	switch {
	case v.err != nil || v.there == 0:
	case !v.begun.CompareAndSwap(false, true):
		v.err = unix.EAGAIN
	case v.errand == fetch:
		v.moved, v.err = splice(v.fd, v.stage, nil, min(v.there, v.limit))
	case v.errand == toss, v.errand == relieve && full(v.fd):
		v.toss()
	}
}

// callOff tells that the visit moves no bytes any more.
func (v *visit) callOff() bool { return v.begun.CompareAndSwap(false, true) }

func (v *visit) toss() {
	if v.hole == nil {
		v.hole, v.noted = makeHole(v.path, spool.Lost{From: v.from, Since: v.now})
	}
	if v.buf == nil {
		v.buf = make([]byte, asideBytes)
	}
	_, v.err = v.hole.take(v.fd, v.there, v.null, v.buf)
}
