package capture_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/uuid"
	"golang.org/x/sys/unix"

	"github.com/dynod/dynod/logs/capture"
	"github.com/dynod/dynod/logs/spool"
	"github.com/dynod/dynod/test/root"
)

// disk is a file system of its own that the spool lies on.
type disk struct {
	t       *testing.T
	dir     string
	image   string // of an ext4, empty for a tmpfs
	options string
}

func tmpfs(t *testing.T, options string) *disk {
	root.Needed(t)
	d := &disk{t: t, dir: t.TempDir(), options: options}
	d.mount()
	t.Cleanup(func() { _ = unix.Unmount(d.dir, unix.MNT_DETACH) })
	return d
}

func ext4(t *testing.T) *disk {
	root.Needed(t)
	d := &disk{t: t, dir: t.TempDir(), image: filepath.Join(t.TempDir(), "image")}
	d.run("truncate", "-s", "64M", d.image)
	d.run("mkfs.ext4", "-q", "-F", d.image)
	d.mount()
	t.Cleanup(func() { _ = unix.Unmount(d.dir, unix.MNT_DETACH) })
	return d
}

func (d *disk) mount() {
	d.t.Helper()
	if d.image != "" {
		d.run("mount", "-o", "loop", d.image, d.dir)
		return
	}
	if err := unix.Mount("tmpfs", d.dir, "tmpfs", 0, d.options); err != nil {
		d.t.Fatal(err)
	}
}

func (d *disk) run(name string, args ...string) {
	d.t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		d.t.Fatalf("%s %v: %v: %s", name, args, err, out)
	}
}

// fill takes all the room; free gives it back.
func (d *disk) fill() {
	f, err := os.Create(filepath.Join(d.dir, "ballast"))
	if err != nil {
		d.t.Fatal(err)
	}
	defer f.Close()
	for buf := make([]byte, 64<<10); err == nil; {
		_, err = f.Write(buf)
	}
	for buf := []byte{1}; !errors.Is(err, unix.ENOSPC); {
		_, err = f.Write(buf)
	}
}

func (d *disk) free() {
	if err := os.Remove(filepath.Join(d.dir, "ballast")); err != nil {
		d.t.Fatal(err)
	}
}

func (d *disk) fillInodes() {
	var err error
	for i := 0; err == nil; i++ {
		err = unix.Mknod(filepath.Join(d.dir, fmt.Sprintf("file%d", i)), unix.S_IFREG, 0)
	}
	if !errors.Is(err, unix.ENOSPC) {
		d.t.Fatal(err)
	}
}

func (d *disk) freeInodes() {
	files, _ := filepath.Glob(filepath.Join(d.dir, "file*"))
	for _, f := range files {
		_ = os.Remove(f)
	}
}

// die makes every operation on the ext4 fail with EIO, as a disk that is gone does (EXT4_IOC_SHUTDOWN).
func (d *disk) die() {
	f, err := os.Open(d.dir)
	if err != nil {
		d.t.Fatal(err)
	}
	defer f.Close()
	if err := unix.IoctlSetPointerInt(int(f.Fd()), 0x8004587d, 1); err != nil {
		d.t.Fatal(err)
	}
}

// replace mounts the image of a dead ext4 again.
func (d *disk) replace() {
	if err := unix.Unmount(d.dir, unix.MNT_DETACH); err != nil {
		d.t.Fatal(err)
	}
	d.run("cp", d.image, d.image+".new") // the dead one is still in use
	d.image += ".new"
	d.run("sh", "-c", `e2fsck -fy "$1" >/dev/null; [ $? -le 1 ]`, "sh", d.image)
	d.mount()
}

// TestSickDisk: whatever happens to the disk, the dyno writes on without an error and without being held up; every
// byte is in the spool or counted, and when the disk is well again so is the spool.
func TestSickDisk(t *testing.T) {
	for name, c := range map[string]struct {
		disk     func(*testing.T) *disk
		hurt     func(*disk)
		heal     func(*disk)
		vanished bool // what was in the spool goes
	}{
		"full":      {func(t *testing.T) *disk { return tmpfs(t, "size=24m") }, (*disk).fill, (*disk).free, false},
		"full ext4": {ext4, (*disk).fill, (*disk).free, false},
		"no inodes": {func(t *testing.T) *disk { return tmpfs(t, "size=64m,nr_inodes=200") }, (*disk).fillInodes, (*disk).freeInodes, false},
		"no spool": {
			func(t *testing.T) *disk { return tmpfs(t, "size=64m") },
			func(d *disk) { _ = os.RemoveAll(filepath.Join(d.dir, "spool")) },
			func(d *disk) { _ = os.MkdirAll(filepath.Join(d.dir, "spool"), 0o700) }, true,
		},
		"no dynos": {
			func(t *testing.T) *disk { return tmpfs(t, "size=64m") },
			func(d *disk) {
				dynos, _ := filepath.Glob(filepath.Join(d.dir, "spool", "*"))
				for _, dyno := range dynos {
					_ = os.RemoveAll(dyno)
				}
			},
			func(*disk) {}, true,
		},
		"a file instead": {
			func(t *testing.T) *disk { return tmpfs(t, "size=64m") },
			func(d *disk) {
				_ = os.Rename(filepath.Join(d.dir, "spool"), filepath.Join(d.dir, "spool.away"))
				_ = os.WriteFile(filepath.Join(d.dir, "spool"), nil, 0o600)
			},
			func(d *disk) {
				_ = os.Remove(filepath.Join(d.dir, "spool"))
				_ = os.Rename(filepath.Join(d.dir, "spool.away"), filepath.Join(d.dir, "spool"))
			}, false,
		},
		"input/output error": {ext4, (*disk).die, (*disk).replace, true},
	} {
		t.Run(name, func(t *testing.T) { sick(t, c.disk(t), c.hurt, c.heal, c.vanished) })
	}
}

func sick(t *testing.T, d *disk, hurt, heal func(*disk), vanished bool) {
	cfg := configured(t, func(c *capture.Config) {
		c.SpoolDir, c.SpoolBytes, c.SegmentBytes = filepath.Join(d.dir, "spool"), 1<<30, 64<<10
	})
	m := newManager(t)
	cfg.NotifySocket = m.socket
	p := spawn(t, cfg, m)
	c, _ := p.dial()
	f := flood(t, c)
	kept := func(beyond int64) func() bool {
		return func() bool {
			l, err := spool.List(spool.Dir(filepath.Join(cfg.SpoolDir, f.id), spool.Stdout))
			return err == nil && len(l.Segments) > 0 && l.Segments[len(l.Segments)-1] > beyond
		}
	}
	waitFor(t, "output in the spool", kept(300_000))
	hurt(d)
	f.reach(t, 2<<20)
	f.wasFree(t)
	p.kill()
	p = spawn(t, cfg, m)
	t.Cleanup(func() { p.kill() }) // before the disk is unmounted
	c, _ = p.dial()
	f.reach(t, 1<<20)
	f.longest.Store(0)         // while nobody reads a dyno may wait
	during := uuid.NewString() // a dyno begins and ends meanwhile
	out, errs := begin(t, c, during)
	if _, err := unix.Write(out, []byte("meanwhile\n")); err != nil {
		t.Fatal(err)
	}
	_, _ = unix.Close(out), unix.Close(errs)
	over(t, c, during)
	heal(d)
	waitFor(t, "output in the spool again", kept(f.bytes.Load()))
	f.end()
	_ = unix.Close(f.errs)
	over(t, c, f.id)
	got := readStream(t, cfg.SpoolDir, f.id, spool.Stdout)
	if vanished {
		if sum := int64(len(got.data)) + got.lost; sum != f.bytes.Load() {
			t.Errorf("%d bytes kept and %d lost, written were %d", len(got.data), got.lost, f.bytes.Load())
		}
	} else {
		f.check(t, got)
	}
	if len(got.data) == 0 || got.lost == 0 || got.ends != 1 {
		t.Errorf("%d bytes kept, %d lost, %d ends", len(got.data), got.lost, got.ends)
	}
	f.wasFree(t)
	waitFor(t, "the other dyno's end", func() bool {
		got := readStream(t, cfg.SpoolDir, during, spool.Stdout)
		return int64(len(got.data))+got.lost == int64(len("meanwhile\n")) && got.ends == 1
	})
}

func waitFor(t testing.TB, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !is(); {
		if time.Now().After(deadline) {
			t.Fatalf("not seen: %s", what)
		}
		time.Sleep(time.Millisecond)
	}
}

// TestReserve: output never takes the last room on the disk.
func TestReserve(t *testing.T) {
	d := tmpfs(t, "size=64m")
	cfg := configured(t, func(c *capture.Config) {
		c.SpoolDir, c.SpoolBytes, c.ReserveBytes = filepath.Join(d.dir, "spool"), 1<<30, 32<<20
	})
	p := spawn(t, cfg, nil)
	t.Cleanup(p.kill)
	c, _ := p.dial()
	f := flood(t, c)
	f.reach(t, 64<<20)
	var fs unix.Statfs_t
	if err := unix.Statfs(d.dir, &fs); err != nil {
		t.Fatal(err)
	}
	if free := int64(fs.Bavail) * fs.Bsize; free < 31<<20 || free > 36<<20 {
		t.Errorf("%d bytes are left, want 32 MiB", free)
	}
	f.over(t, c, cfg)
}

// TestStalledDisk freezes the file system for a while: when it moves again, dynos speak without it for a time, counted.
func TestStalledDisk(t *testing.T) {
	d := ext4(t)
	cfg := configured(t, func(c *capture.Config) { c.SpoolDir = filepath.Join(d.dir, "spool") })
	p := spawn(t, cfg, nil)
	t.Cleanup(p.kill)
	c, _ := p.dial()
	f := flood(t, c)
	f.reach(t, 300_000)
	d.run("fsfreeze", "-f", d.dir)
	time.Sleep(2200 * time.Millisecond) // how long the disk takes
	d.run("fsfreeze", "-u", d.dir)
	f.reach(t, 4<<20)
	f.end()
	_ = unix.Close(f.errs)
	over(t, c, f.id)
	got := readStream(t, cfg.SpoolDir, f.id, spool.Stdout)
	f.check(t, got)
	if got.lost == 0 {
		t.Error("the dyno waits for a slow disk")
	}
}
