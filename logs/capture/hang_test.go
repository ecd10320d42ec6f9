package capture_test

import (
	"context"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/dynod/dynod/logs/capture"
	"github.com/dynod/dynod/logs/spool"
	"github.com/dynod/dynod/test/lab"
)

// hanging is a file system on which, while it is shut, no write and no new file comes to an end. Whoever waits for one is
// not to be killed either: so it is with a disk.
type hanging struct {
	t       *testing.T
	dir     string
	backing string // where its files are seen without it
	gate    sync.RWMutex
	waiting atomic.Int64
}

func newHanging(t *testing.T) *hanging {
	lab.Root(t)
	h := &hanging{t: t, dir: t.TempDir(), backing: t.TempDir()}
	data := &fs.LoopbackRoot{Path: h.backing}
	data.NewNode = func(*fs.LoopbackRoot, *fs.Inode, string, *syscall.Stat_t) fs.InodeEmbedder {
		return &hangingNode{LoopbackNode: fs.LoopbackNode{RootData: data}, disk: h}
	}
	root := data.NewNode(data, nil, "", nil)
	data.RootNode = root
	server, err := fs.Mount(h.dir, root, &fs.Options{MountOptions: fuse.MountOptions{DirectMountStrict: true}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Unmount(); err != nil {
			t.Error(err)
		}
	})
	return h
}

// shut returns when something hangs.
func (h *hanging) shut() {
	h.t.Helper()
	h.gate.Lock()
	waitFor(h.t, "a write that hangs", func() bool { return h.waiting.Load() > 0 })
}

func (h *hanging) pass() {
	h.waiting.Add(1)
	h.gate.RLock()
	h.waiting.Add(-1)
	h.gate.RUnlock()
}

type hangingNode struct {
	fs.LoopbackNode
	disk *hanging
}

func (n *hangingNode) Write(ctx context.Context, f fs.FileHandle, data []byte, off int64) (uint32, syscall.Errno) {
	n.disk.pass()
	return f.(fs.FileWriter).Write(ctx, data, off)
}

func (n *hangingNode) Create(
	ctx context.Context, name string, flags, mode uint32, out *fuse.EntryOut,
) (*fs.Inode, fs.FileHandle, uint32, syscall.Errno) {
	n.disk.pass()
	return n.LoopbackNode.Create(ctx, name, flags, mode, out)
}

// TestHangingDisk: while a write hangs the dyno is not held up; every byte is kept or counted, at its place.
func TestHangingDisk(t *testing.T) {
	h := newHanging(t)
	cfg := configured(t, func(c *capture.Config) { c.SpoolDir, c.SpoolBytes = filepath.Join(h.dir, "spool"), 1<<30 })
	p := spawn(t, cfg, nil)
	c, _ := p.dial()
	f := flood(t, c)
	f.reach(t, 300_000)
	h.shut()
	t.Cleanup(func() { h.gate.TryLock(); h.gate.Unlock() })
	f.reach(t, 8<<20)
	h.gate.Unlock()
	f.reach(t, 1<<20)
	f.end()
	over(t, c, f.id)
	got := readStream(t, filepath.Join(h.backing, "spool"), f.id, spool.Stdout)
	f.check(t, got)
	f.wasFree(t)
}
