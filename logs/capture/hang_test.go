package capture_test

import (
	"context"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

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

// open ends the hang, if there is one.
func (h *hanging) open() {
	h.gate.TryLock()
	h.gate.Unlock()
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

// hangFor is how long the disk hangs at least; no write of a dyno may take as long as half of it.
const hangFor = 8 * time.Second

// TestHangingDisk: while a write hangs dynos are not held up; every byte is kept, or counted at its place. So it is too if
// capture is killed then and, as long as the write hangs, cannot die.
func TestHangingDisk(t *testing.T) {
	for name, kill := range map[string]bool{"hangs": false, "killed": true} {
		t.Run(name, func(t *testing.T) {
			h := newHanging(t)
			m := newManager(t)
			cfg := configured(t, func(c *capture.Config) {
				c.SpoolDir, c.SpoolBytes, c.NotifySocket = filepath.Join(h.dir, "spool"), 1<<30, m.socket
			})
			p := spawn(t, cfg, m)
			c, _ := p.dial()
			f := floodBy(t, c, talkProcess)
			f.reach(t, 300_000)
			h.shut()
			t.Cleanup(h.open)
			began := time.Now()
			f.reach(t, 8<<20)
			if kill {
				p.wound()
				p = spawn(t, cfg, m)
				c, _ = p.dial()
				f.reach(t, 8<<20)
			}
			during := floodBy(t, c, talk) // begins while the disk hangs
			during.reach(t, 8<<20)
			time.Sleep(time.Until(began.Add(hangFor)))
			h.open()
			for _, f := range []*flooding{f, during} {
				f.reach(t, 1<<20)
				f.end()
				_ = unix.Close(f.errs)
				over(t, c, f.id)
				spoolDir := filepath.Join(h.backing, "spool")
				got := readStream(t, spoolDir, f.id, spool.Stdout)
				f.check(t, got)
				f.inPlace(t, spoolDir, f.id)
				if held := time.Duration(f.longest.Load()); held > hangFor/2 || got.lost == 0 || got.ends != 1 {
					t.Errorf("held up for %v, %d bytes lost, %d ends", held, got.lost, got.ends)
				}
			}
		})
	}
}

// TestStageOutlivesCapture: what is under way to a disk that hangs is kept, whoever dies, and so is what comes after it
// and has room in the pipe.
func TestStageOutlivesCapture(t *testing.T) {
	h := newHanging(t)
	m := newManager(t)
	cfg := configured(t, func(c *capture.Config) { c.SpoolDir, c.NotifySocket = filepath.Join(h.dir, "spool"), m.socket })
	p := spawn(t, cfg, m)
	c, _ := p.dial()
	id := uuid.NewString()
	out, errs := begin(t, c, id)
	t.Cleanup(h.open)
	h.gate.Lock()
	say := func(text string) {
		if _, err := unix.Write(out, []byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	say("under way\n")
	waitFor(t, "a write that hangs", func() bool { return h.waiting.Load() > 0 })
	say("in the pipe\n")
	for range 3 {
		p.wound()
		p = spawn(t, cfg, m)
		c, _ = p.dial()
		say("while another capture waits\n")
	}
	h.open()
	_, _ = unix.Close(out), unix.Close(errs)
	over(t, c, id)
	got := readStream(t, filepath.Join(h.backing, "spool"), id, spool.Stdout)
	want := "under way\nin the pipe\n" + strings.Repeat("while another capture waits\n", 3)
	if string(got.data) != want || got.lost != 0 || got.ends != 1 {
		t.Errorf("%q and %d bytes lost, %d ends", got.data, got.lost, got.ends)
	}
}
