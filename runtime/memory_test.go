package runtime_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"

	"github.com/dynod/dynod/runtime"
	"github.com/dynod/dynod/runtime/cgroup"
)

// hog takes memory until it is stopped.
const hog = `awk 'BEGIN { s = "0123456789abcdef"; while (1) s = s s }'`

func TestOutOfMemoryIsTold(t *testing.T) {
	h := newHost(t)
	d := h.limited(runtime.Limits{Memory: 32 << 20, Pids: 64})
	must(t, d.launch("sh", "-c", "exec "+hog))
	exit := d.wait()
	if exit.Code != 137 || !exit.OOM || exit.HostOOM || exit.Peak < 31<<20 || exit.Peak > 32<<20 {
		t.Errorf("got %+v", exit)
	}
}

func TestKillIsNotOutOfMemory(t *testing.T) {
	h := newHost(t)
	d := h.limited(runtime.Limits{Memory: 32 << 20})
	must(t, d.launch("sleep", "1000"))
	must(t, h.Signal(h.ctx, d.ID, unix.SIGKILL))
	if exit := d.wait(); exit.Code != 137 || exit.OOM || exit.HostOOM {
		t.Errorf("got %+v", exit)
	}
}

// Memory is short above the dyno, which is far from its own limit: as on a host that has none left.
func TestWantOfTheHostIsNotTheDynos(t *testing.T) {
	h := newHost(t)
	d := h.limited(runtime.Limits{Memory: 512 << 20, Pids: 64})
	file := "memory/" + h.config.CgroupParent + "/memory.limit_in_bytes"
	if cgroup.Unified() {
		file = h.config.CgroupParent + "/memory.max"
	}
	must(t, os.WriteFile(filepath.Join("/sys/fs/cgroup", file), []byte("64M"), 0))
	must(t, d.launch("sh", "-c", "exec "+hog))
	if exit := d.wait(); exit.Code != 137 || exit.OOM || !exit.HostOOM {
		t.Errorf("got %+v", exit)
	}
}

// The kernel takes a child and leaves the rest: it is told while the dyno lives. On v2 it takes them all.
func TestOutOfMemoryOfAChildIsTold(t *testing.T) {
	h := newHost(t)
	d := h.limited(runtime.Limits{Memory: 32 << 20, Pids: 64})
	told := make(chan error, 1)
	ctx, cancel := context.WithCancel(h.ctx)
	defer cancel()
	go func() {
		peak, err := h.OutOfMemory(ctx, d.ID)
		if err == nil && peak < 31<<20 {
			t.Errorf("peak: %d bytes", peak)
		}
		told <- err
	}()
	must(t, d.launch("sh", "-c", hog+"; echo lives on; sleep 1000"))
	if cgroup.Unified() {
		if exit := d.wait(); exit.Code != 137 || !exit.OOM {
			t.Errorf("got %+v", exit)
		}
		return
	}
	must(t, <-told)
	d.out.await(h.ctx, t, "lives on")
	if _, err := h.OutOfMemory(h.ctx, d.ID); err != nil {
		t.Errorf("who comes later: %v", err)
	}
	must(t, h.Signal(h.ctx, d.ID, unix.SIGKILL))
	if exit := d.wait(); !exit.OOM {
		t.Errorf("got %+v", exit)
	}
}

func TestOutOfMemoryEndsWithTheDyno(t *testing.T) {
	h := newHost(t)
	d := h.run(h.slug(nil), "echo up; sleep 1000")
	d.out.await(h.ctx, t, "up")
	told := make(chan error, 1)
	ctx, cancel := context.WithCancel(h.ctx)
	defer cancel()
	go func() {
		_, err := h.OutOfMemory(ctx, d.ID)
		told <- err
	}()
	must(t, h.Delete(h.ctx, d.ID))
	if cgroup.Unified() {
		cancel()
	}
	if err := <-told; !errdefs.IsNotFound(err) && ctx.Err() == nil {
		t.Errorf("got %v", err)
	}
}

func TestRunnableThreadsAreCounted(t *testing.T) {
	h := newHost(t)
	d := h.run(h.slug(nil), "for i in 1 2 3; do while :; do :; done & done; echo up; sleep 1000")
	d.out.await(h.ctx, t, "up")
	eventually(h.ctx, t, "three run", func() bool {
		n, err := h.Runnable(h.ctx, d.ID)
		must(t, err)
		return n == 3
	})
	must(t, h.Delete(h.ctx, d.ID))
	if _, err := h.Runnable(h.ctx, d.ID); !errdefs.IsNotFound(err) {
		t.Errorf("threads of nothing: %v", err)
	}
}

// Shared memory cannot be dropped: it is no cache.
func TestKindsOfMemory(t *testing.T) {
	h := newHost(t)
	d := h.run(h.slug(nil), `dd if=/dev/zero of=/dev/shm/x bs=1M count=20 2>/dev/null; dd if=/dev/zero of=/app/x bs=1M count=10 2>/dev/null; echo up; sleep 1000`)
	d.out.await(h.ctx, t, "up")
	u, err := h.Usage(h.ctx, d.ID)
	must(t, err)
	if u.RSS < 20<<20 || u.RSS > 26<<20 || u.Cache < 10<<20 || u.Cache > 16<<20 || u.Swap != 0 {
		t.Errorf("usage %+v", u)
	}
	if !cgroup.Unified() && u.PagesIn < 1000 { // a large page counts once
		t.Errorf("usage %+v", u)
	}
}
