package runtime_test

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"

	"github.com/dynod/dynod/runtime"
	"github.com/dynod/dynod/runtime/cgroup"
	"github.com/dynod/dynod/test/lab"
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
	if _, err := h.OutOfMemory(ctx, d.ID); !errdefs.IsNotFound(err) && ctx.Err() == nil {
		t.Errorf("who comes later: %v", err)
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

// What does not fit into the quota is in swap, and a page is counted once wherever it is: also one that has come back
// from swap and keeps its place there. The dyno takes its time: a kernel whose swap is too slow kills.
func TestSwapIsCounted(t *testing.T) {
	h := newHost(t)
	must(t, h.lab.Swap(h.ctx, 192))
	d := h.limited(runtime.Limits{Memory: 40 << 20, Swap: 128 << 20, Pids: 64})
	must(t, d.launch("sh", "-c", `dd if=/dev/zero of=/app/file bs=1M count=8 2>/dev/null
awk 'BEGIN { s = "0123456789abcdef"; while (length(s) < 4194304) s = s s
for (i = 0; i < 12; i++) { more[i] = s i; system("sleep 0.1") }
for (i = 0; i < 12; i++) { n += index(more[i], "Z"); system("sleep 0.1") }
system("cat /app/file /app/file >/dev/null"); print "up"; fflush(); system("sleep 1000") }'`))
	d.out.await(h.ctx, t, "up")
	u, err := h.Usage(h.ctx, d.ID)
	must(t, err)
	if u.RSS > 40<<20 || u.Swap < 8<<20 || u.Cache < 4<<20 {
		t.Errorf("usage %+v", u)
	}
	kernel := h.charged(d.ID)
	if total := int64(u.Total()); total > kernel || total < kernel-4<<20 { // the kernel's own for the dyno is not the dyno's
		t.Errorf("usage %+v, %d KiB in all; the kernel counts %d KiB", u, total>>10, kernel>>10)
	}
	must(t, h.Delete(h.ctx, d.ID))
}

// charged is what the kernel counts of a dyno's memory and swap together, a page that is in both once.
func (h *host) charged(id string) int64 {
	h.t.Helper()
	read := func(file string) int64 {
		data, err := os.ReadFile(filepath.Join("/sys/fs/cgroup", file))
		must(h.t, err)
		n, err := strconv.ParseInt(strings.TrimSpace(string(data)), 10, 64)
		must(h.t, err)
		return n
	}
	pid, err := h.PID(h.ctx, id)
	must(h.t, err)
	group, err := lab.Group(pid)
	must(h.t, err)
	if !cgroup.Unified() {
		return read("memory/" + group + "/memory.memsw.usage_in_bytes")
	}
	stat, err := os.ReadFile(filepath.Join("/sys/fs/cgroup", group, "memory.stat"))
	must(h.t, err)
	_, rest, _ := strings.Cut(string(stat), "\nswapcached ")
	both, err := strconv.ParseInt(rest[:strings.IndexByte(rest, '\n')], 10, 64)
	must(h.t, err)
	return read(group+"/memory.current") + read(group+"/memory.swap.current") - both
}
