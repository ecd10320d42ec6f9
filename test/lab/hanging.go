package lab

import (
	"context"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
)

// Hanging is a file system on which, while it is shut, no write and no new file comes to an end. Whoever waits for one is not to be
// killed either: so it is with a disk.
type Hanging struct {
	Dir     string // where it is mounted
	Backing string // where its files are seen without it

	t       testing.TB
	gate    sync.RWMutex
	waiting atomic.Int64
	broken  atomic.Bool
}

// NewHanging mounts one, open, until the test ends.
func NewHanging(t testing.TB) *Hanging {
	Root(t)
	h := &Hanging{t: t, Dir: t.TempDir(), Backing: t.TempDir()}
	root := &hangingNode{LoopbackNode: &fs.LoopbackNode{RootData: &fs.LoopbackRoot{Path: h.Backing}}, disk: h}
	server, err := fs.Mount(h.Dir, root, &fs.Options{MountOptions: fuse.MountOptions{DirectMountStrict: true}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		h.Open()
		if err := server.Unmount(); err != nil {
			_ = syscall.Unmount(h.Dir, syscall.MNT_DETACH)
			t.Error(err)
		}
	})
	return h
}

// Shut has writes hang from now on.
func (h *Hanging) Shut() { h.gate.Lock() }

// Waiting is how many operations hang.
func (h *Hanging) Waiting() int64 { return h.waiting.Load() }

// Hangs returns when something hangs.
func (h *Hanging) Hangs() {
	h.t.Helper()
	for deadline := time.Now().Add(30 * time.Second); h.Waiting() == 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			h.t.Fatal("nothing writes to the disk that hangs")
		}
	}
}

// Open ends the hang, if there is one.
func (h *Hanging) Open() {
	h.gate.TryLock()
	h.gate.Unlock()
}

// Break has writes fail instead, until it is told otherwise.
func (h *Hanging) Break(broken bool) {
	h.broken.Store(broken)
	h.Open()
}

func (h *Hanging) pass() syscall.Errno {
	h.waiting.Add(1)
	h.gate.RLock()
	h.waiting.Add(-1)
	h.gate.RUnlock()
	if h.broken.Load() {
		return syscall.EIO
	}
	return 0
}

type hangingNode struct {
	*fs.LoopbackNode
	disk *Hanging
}

func (n *hangingNode) WrapChild(_ context.Context, child fs.InodeEmbedder) fs.InodeEmbedder {
	return &hangingNode{LoopbackNode: child.(*fs.LoopbackNode), disk: n.disk}
}

func (n *hangingNode) Open(ctx context.Context, flags uint32) (fs.FileHandle, uint32, syscall.Errno) {
	f, flags, err := n.LoopbackNode.Open(ctx, flags)
	return n.disk.file(f), flags, err
}

func (n *hangingNode) Create(
	ctx context.Context, name string, flags, mode uint32, out *fuse.EntryOut,
) (*fs.Inode, fs.FileHandle, uint32, syscall.Errno) {
	if err := n.disk.pass(); err != 0 {
		return nil, nil, 0, err
	}
	inode, f, flags, err := n.LoopbackNode.Create(ctx, name, flags, mode, out)
	return inode, n.disk.file(f), flags, err
}

func (h *Hanging) file(f fs.FileHandle) fs.FileHandle {
	if f, ok := f.(*fs.LoopbackFile); ok {
		return &hangingFile{LoopbackFile: f, disk: h}
	}
	return f
}

type hangingFile struct {
	*fs.LoopbackFile
	disk *Hanging
}

// PassthroughFd has the kernel ask here.
func (f *hangingFile) PassthroughFd() (int, bool) { return -1, false }

func (f *hangingFile) Write(ctx context.Context, data []byte, off int64) (uint32, syscall.Errno) {
	if err := f.disk.pass(); err != 0 {
		return 0, err
	}
	return f.LoopbackFile.Write(ctx, data, off)
}

func (f *hangingFile) Writev(ctx context.Context, data [][]byte, off int64) (uint32, syscall.Errno) {
	if err := f.disk.pass(); err != 0 {
		return 0, err
	}
	return f.LoopbackFile.Writev(ctx, data, off)
}
