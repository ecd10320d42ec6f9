package capture

import (
	"context"
	"math"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dynod/dynod/logs/spool"
)

// addUp is the least time between two walks through the whole spool.
const addUp = time.Second

// host knows what all dynos together take of the disk, and what is left of it. A sick disk may hold up whoever looks
// at it, so that is done by a goroutine of its own.
type host struct {
	root    string
	bound   int64 // bytes of all dynos; 0: any
	reserve int64 // bytes of the disk that are left free
	wake    chan struct{}

	written atomic.Int64 // by this capture, ever
	used    atomic.Int64 // at the last walk, less written then
	known   atomic.Bool  // there was one
	free    atomic.Int64 // at the last look, plus written then
	low     atomic.Bool  // below the reserve, until there is a segment's room more
	step    int64
}

func newHost(cfg Config) *host {
	h := &host{
		root: cfg.SpoolDir, bound: cfg.HostBytes, reserve: cfg.ReserveBytes, step: cfg.SegmentBytes,
		wake: make(chan struct{}, 1),
	}
	h.free.Store(math.MaxInt64)
	return h
}

// run looks when something was written, until ctx ends.
func (h *host) run(ctx context.Context) {
	pause := time.NewTicker(recount)
	defer pause.Stop()
	for walked := time.Now(); ; {
		select {
		case <-h.wake:
		case <-ctx.Done():
			return
		}
		h.look()
		if h.filling() && time.Since(walked) >= addUp {
			walked = time.Now()
			h.walk()
		}
		select {
		case <-pause.C:
		case <-ctx.Done():
			return
		}
	}
}

// grew says that so many bytes more were written.
func (h *host) grew(n int64) {
	h.written.Add(n)
	if h.bound <= 0 && h.reserve <= 0 {
		return
	}
	select {
	case h.wake <- struct{}{}:
	default:
	}
}

// filling tells that it may soon matter how much all dynos have. Less than half of the bound does not; capture knows of all
// that came since the last walk but what the agent writes, which is an eighth at most.
func (h *host) filling() bool { return !h.known.Load() || h.used.Load()+h.written.Load() >= h.bound/4 }

// syncEvery is what a power cut takes at most, beside what the disk needs to write it.
const syncEvery = time.Second

// syncAll has the disk keep what was written, until ctx ends. Where that hangs, nobody waits for it.
func (h *host) syncAll(ctx context.Context) {
	pause := time.NewTicker(syncEvery)
	defer pause.Stop()
	var kept, before int64
	for {
		select {
		case <-pause.C:
		case <-ctx.Done():
			return
		}
		now := h.written.Load()
		if now != kept && spool.Sync(h.root) == nil {
			kept = before // once more: what was counted just now may have come to the disk later
		}
		before = now
	}
}

func (h *host) look() {
	written := h.written.Load()
	var fs unix.Statfs_t
	if h.reserve <= 0 || unix.Statfs(h.root, &fs) != nil {
		h.free.Store(math.MaxInt64)
		return
	}
	free := int64(fs.Bavail) * fs.Bsize
	h.free.Store(free + written)
	if free >= h.reserve+h.step {
		h.low.Store(false)
	}
}

func (h *host) walk() {
	if h.bound <= 0 {
		return
	}
	written := h.written.Load()
	entries, err := os.ReadDir(h.root)
	if err != nil {
		return
	}
	var sum int64
	for _, e := range entries {
		if spool.ValidID(e.Name()) {
			used, _ := spool.Usage(filepath.Join(h.root, e.Name()))
			sum += used
		}
	}
	h.used.Store(sum - written)
	h.known.Store(true)
}

// limit is how much each of so many dynos may have in the spool now. When half of the host's bound is used up, the
// other half is divided among them: whoever has little there loses nothing to those who have much.
func (h *host) limit(dynos int) int64 {
	written := h.written.Load()
	if h.free.Load()-written < h.reserve {
		h.low.Store(true)
	}
	used := h.used.Load() + written
	switch {
	case h.low.Load(), h.bound > 0 && used >= h.bound:
		return 0
	case h.bound > 0 && used >= h.bound/2:
		return h.bound / 2 / int64(max(1, dynos))
	}
	return math.MaxInt64
}
