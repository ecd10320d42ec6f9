package cgroup

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"
)

const (
	// killing is how long the kernel may take from its notice, which comes first on v1, to the kill.
	killing = time.Second
	// nearly is how far from a limit the last allocation that it refused may have been, bytes.
	nearly = 256 << 10
	// looking is the pause between two looks meanwhile.
	looking = 10 * time.Millisecond
)

// OOM is what the kernel has counted of a group's want of memory.
type OOM struct {
	Kills uint64 // processes of the group that were killed for it
	Own   bool   // the group's own limit was reached; if not, memory was short above it: on the whole host, as a rule
	Peak  uint64 // most memory and swap at one moment, bytes; 0 where the kernel does not say
}

// OutOfOwn says whether the group's own limit cost it a process. On v1 a group that had once filled its limit, with
// files perhaps, which is no want, and lost a process to a want of the host later, counts as this too.
func (o OOM) OutOfOwn() bool { return o.Kills > 0 && o.Own }

// OOM reads the counters. A group that is gone has none.
func (g Group) OOM() (OOM, error) {
	read := g.oom1
	if g.tree.Unified {
		read = g.oom2
	}
	o, err := read()
	if err != nil && !errdefs.IsNotFound(err) {
		return OOM{}, fmt.Errorf("read memory events of %s: %w", g, err)
	}
	return o, nil
}

// oom1 takes a limit for reached when the most that was used is about as much: not every kernel counts failures.
func (g Group) oom1() (OOM, error) {
	control, err := table(g.file("memory", "memory.oom_control"))
	if err != nil {
		return OOM{}, err
	}
	alone, reached, err := g.peak1("memory.")
	if err != nil {
		return OOM{}, err
	}
	both, reachedBoth, err := g.peak1("memory.memsw.")
	if err != nil && !errdefs.IsNotFound(err) { // a kernel that does not count swap
		return OOM{}, err
	}
	return OOM{Kills: control["oom_kill"], Own: reached || reachedBoth, Peak: max(alone, both)}, nil
}

// peak1 is the most that a counter has had, and whether that was its limit.
func (g Group) peak1(counter string) (peak uint64, reached bool, err error) {
	peak, err = number(g.file("memory", counter+"max_usage_in_bytes"))
	if err != nil {
		return 0, false, err
	}
	limit, err := number(g.file("memory", counter+"limit_in_bytes"))
	return peak, peak+nearly >= limit, err
}

func (g Group) oom2() (OOM, error) {
	events, err := table(g.file("", "memory.events"))
	if err != nil {
		return OOM{}, err
	}
	memory, _ := number(g.file("", "memory.peak")) // since Linux 5.19
	swap, _ := number(g.file("", "memory.swap.peak"))
	return OOM{Kills: events["oom_kill"], Own: events["oom"] > 0, Peak: memory + swap}, nil
}

// AwaitOOM returns nil once the group's own limit has cost it a process, at once if it had before. NotFound when the
// group is gone. On v2 it only waits for ctx: there the kernel ends the whole group by itself.
func (g Group) AwaitOOM(ctx context.Context) error {
	if g.tree.Unified {
		<-ctx.Done()
		return ctx.Err()
	}
	notices, err := g.notices()
	if err != nil && !g.Exists() {
		err = errors.Join(errdefs.ErrNotFound, err)
	}
	if err != nil {
		return fmt.Errorf("watch memory of %s: %w", g, err)
	}
	defer notices.Close()
	defer context.AfterFunc(ctx, func() { _ = notices.Close() })()
	for look := g.out; ; look = g.outSoon {
		if out, err := look(ctx); out || err != nil {
			return err
		}
		if !g.Exists() {
			return fmt.Errorf("watch memory of %s: %w", g, errdefs.ErrNotFound)
		}
		var count [8]byte
		if _, err := notices.Read(count[:]); err != nil {
			return errors.Join(ctx.Err(), err)
		}
	}
}

func (g Group) out(context.Context) (bool, error) {
	o, err := g.OOM()
	return o.OutOfOwn(), err
}

// outSoon looks for a kill until the kernel must have got to it.
func (g Group) outSoon(ctx context.Context) (bool, error) {
	for end := time.Now().Add(killing); ; {
		out, err := g.out(ctx)
		if err != nil || out || time.Now().After(end) {
			return out, err
		}
		select {
		case <-time.After(looking):
		case <-ctx.Done():
			return false, ctx.Err()
		}
	}
}

// notices is a file that can be read whenever the group, or one above it, has reached its limit, and when it is gone.
func (g Group) notices() (*os.File, error) {
	control, err := os.Open(g.file("memory", "memory.oom_control"))
	if err != nil {
		return nil, err
	}
	defer control.Close()
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return nil, err
	}
	order := fmt.Sprintf("%d %d", fd, control.Fd())
	if err := os.WriteFile(g.file("memory", "cgroup.event_control"), []byte(order), 0); err != nil {
		return nil, errors.Join(err, unix.Close(fd))
	}
	return os.NewFile(uintptr(fd), "eventfd"), nil
}
