// Package rootfs mounts the root filesystem of a dyno: read-only layers below, a directory of the dyno's own on
// top, shown with the dyno's own ids. It asks no snapshotter, copies nothing and changes no layer.
//
// Image layers and slugs belong to ids from 0 on, on disk, and are shared by all dynos. Each is cloned through
// an id-mapped mount, in which its id 0 is the dyno's, before it goes into the overlay; this needs Linux 5.19.
package rootfs

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"

	"github.com/containerd/containerd/v2/core/mount"
	"github.com/prometheus/procfs"
	"golang.org/x/sys/unix"
)

// Tree says what to mount. All directories exist already.
type Tree struct {
	Lower   []string // read-only layers, the topmost first
	Upper   string   // takes what is written; it and Work belong to the first of the ids and lie on one filesystem
	Work    string   // the kernel's own, empty
	Scratch string   // for mounts that go when Mount has returned
	Target  string
	Users   *os.File // of Users, by which the layers are shown with other ids; nil: they are shown as they are
}

// Mount mounts the tree on its target. Scratch is cleared behind it: that takes a millisecond or two, in which the kernel
// waits for every CPU. What stays there, Unmount removes.
func Mount(t Tree) (err error) {
	layers := t.Lower
	if t.Users != nil {
		layers, err = clone(t)
		defer Detach(layers...)
	}
	if err == nil {
		err = overlay(t, layers)
	}
	return err
}

// Copy is a mount at the same tree that is nowhere attached, and hears of no mount elsewhere. It goes with the file.
func Copy(target string) (*os.File, error) {
	fd, err := unix.OpenTree(unix.AT_FDCWD, target, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("copy mount of %s: %w", target, err)
	}
	f := os.NewFile(uintptr(fd), target)
	if err := unix.MountSetattr(fd, "", unix.AT_EMPTY_PATH, &unix.MountAttr{Propagation: unix.MS_PRIVATE}); err != nil {
		return nil, errors.Join(fmt.Errorf("part mount of %s: %w", target, err), f.Close())
	}
	return f, nil
}

// Detach takes mounts away soon, unless Unmount is faster: these and none that is in their place by then. What uses one keeps it.
func Detach(points ...string) {
	var mounts paths
	for _, p := range points {
		mounts.open(p)
	}
	go func() {
		defer mounts.close()
		for _, f := range mounts.files {
			_ = unix.Unmount("/proc/self/fd/"+strconv.Itoa(int(f.Fd())), unix.MNT_DETACH)
		}
	}()
}

// Users makes a user namespace that maps ids from 0 on to those from first on. It lives as long as the file.
func Users(first, count uint32) (*os.File, error) {
	mapping := fmt.Sprintf("0:%d:%d", first, count)
	f, err := mount.GetUsernsFD(mapping, mapping)
	if err != nil {
		return nil, fmt.Errorf("make user namespace: %w", err)
	}
	return f, nil
}

// clone mounts each layer once more below Scratch, with ids mapped, and returns where, after an error too.
func clone(t Tree) (clones []string, err error) {
	defer runtime.KeepAlive(t.Users) // or it might be closed behind the last look at its descriptor
	for i, layer := range t.Lower {
		target := filepath.Join(t.Scratch, strconv.Itoa(i))
		if err := os.MkdirAll(target, 0o700); err != nil {
			return clones, fmt.Errorf("make mount point: %w", err)
		}
		if err := mount.IDMapMountWithAttrs(layer, target, int(t.Users.Fd()), unix.MOUNT_ATTR_RDONLY, 0); err != nil {
			return clones, fmt.Errorf("map ids of %s: %w", layer, err)
		}
		clones = append(clones, target)
	}
	return clones, nil
}

// overlay names directories by descriptors. So each takes a few bytes of the page that mount(2) reads its options from,
// and the dyno, which sees the options in /proc/mounts, learns nothing of the host from them.
//
// It mounts with volatile, because a dyno's files are not worth a sync: they are gone with it. With redirect_dir a
// directory that came from a layer can be renamed, as on any other filesystem.
func overlay(t Tree, layers []string) error {
	var dirs paths
	defer dirs.close()
	lower := make([]string, len(layers))
	for i, layer := range layers {
		lower[i] = dirs.open(layer)
	}
	options := fmt.Sprintf("lowerdir=%s,upperdir=%s,workdir=%s,redirect_dir=on,index=off,metacopy=off,volatile",
		strings.Join(lower, ":"), dirs.open(t.Upper), dirs.open(t.Work))
	if dirs.err != nil {
		return fmt.Errorf("open layers: %w", dirs.err)
	}
	if len(options) >= os.Getpagesize() {
		return fmt.Errorf("mount overlay: %d layers are more than mount(2) takes", len(layers))
	}
	if err := unix.Mount("dyno", t.Target, "overlay", unix.MS_NOSUID|unix.MS_NODEV, options); err != nil {
		return fmt.Errorf("mount overlay on %s: %w", t.Target, err)
	}
	return nil
}

// paths holds directories open and remembers the first that could not be.
type paths struct {
	files []*os.File
	err   error
}

// open returns a short path of the directory, good until close.
func (p *paths) open(dir string) string {
	f, err := os.OpenFile(dir, unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		p.err = errors.Join(p.err, err)
		return ""
	}
	p.files = append(p.files, f)
	return "/proc/self/fd/" + strconv.Itoa(int(f.Fd()))
}

func (p *paths) close() {
	for _, f := range p.files {
		_ = f.Close() // opened for its path only
	}
}

// Unmount takes away everything that is mounted at or below dir, the newest first. It is lazy: what still uses a
// mount keeps it until it ends. Nothing mounted is no error.
func Unmount(dir string) error {
	mounts, err := procfs.GetMounts()
	if err != nil {
		return fmt.Errorf("list mounts: %w", err)
	}
	var errs []error
	for i := len(mounts) - 1; i >= 0; i-- {
		point := mounts[i].MountPoint
		if point != dir && !strings.HasPrefix(point, dir+"/") {
			continue
		}
		if err := unix.Unmount(point, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); err != nil && !errors.Is(err, unix.EINVAL) {
			errs = append(errs, fmt.Errorf("unmount %s: %w", point, err))
		}
	}
	return errors.Join(errs...)
}

// Probe says whether layers in dir can be shown with mapped ids here, by doing it with a mount that is nowhere attached.
func Probe(dir string) error {
	users, err := Users(1<<16, 1<<16)
	if err != nil {
		return err
	}
	defer users.Close()
	tree, err := unix.OpenTree(unix.AT_FDCWD, dir, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	if err != nil {
		return fmt.Errorf("clone mount of %s: %w", dir, err)
	}
	defer unix.Close(tree)
	mapped := &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_IDMAP, Userns_fd: uint64(users.Fd())}
	if err := unix.MountSetattr(tree, "", unix.AT_EMPTY_PATH, mapped); err != nil {
		return fmt.Errorf("map ids of %s: %w", dir, err)
	}
	return nil
}
