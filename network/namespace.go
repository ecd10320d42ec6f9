package network

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/containerd/errdefs"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// sysfsFlags are those of the sysfs that a dyno sees.
const sysfsFlags = unix.MS_RDONLY | unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC

// namespace is a dyno's network namespace, open.
type namespace struct {
	ns    netns.NsHandle
	links *netlink.Handle // a socket inside ns
	fresh bool            // made just now: it has no link but lo
}

func nsPath(dir string) string  { return filepath.Join(dir, "ns") }
func sysPath(dir string) string { return filepath.Join(dir, "sys") }

// openNamespace makes or completes the namespace of the dyno whose directory is
// dir, and opens it. The caller closes it.
func openNamespace(dir string) (_ *namespace, err error) {
	s := &namespace{ns: netns.None()}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.close())
		}
	}()
	return s, onThread(func() error {
		if err := s.enter(dir); err != nil {
			return err
		}
		if err := mountSysfs(sysPath(dir)); err != nil {
			return err
		}
		if err := disableIPv6(); err != nil {
			return err
		}
		return s.connect()
	})
}

// enter moves the calling thread into the namespace of dir, made and bound
// there if it is not.
func (s *namespace) enter(dir string) error {
	bound, err := isMount(nsPath(dir), unix.NSFS_MAGIC)
	if err != nil {
		return err
	}
	if !bound {
		if err := makeNamespace(dir); err != nil {
			return err
		}
		s.fresh = true
	}
	if s.ns, err = netns.GetFromPath(nsPath(dir)); err != nil {
		return fmt.Errorf("open network namespace: %w", err)
	}
	if err := netns.Set(s.ns); err != nil {
		return fmt.Errorf("enter network namespace: %w", err)
	}
	return nil
}

// makeNamespace moves the calling thread into a new namespace and keeps that by
// a bind mount. The place for its sysfs comes first: a namespace without one needs none.
func makeNamespace(dir string) error {
	if err := unmount(sysPath(dir), unix.SYSFS_MAGIC); err != nil { // of a namespace that was lost
		return err
	}
	if err := os.Mkdir(sysPath(dir), 0o755); err != nil {
		return fmt.Errorf("make sysfs directory: %w", err)
	}
	path := nsPath(dir)
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDONLY, 0o444)
	if err != nil {
		return fmt.Errorf("make namespace file: %w", err)
	}
	if err := f.Close(); err != nil {
		return fmt.Errorf("make namespace file: %w", err)
	}
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("make network namespace: %w", err)
	}
	if err := unix.Mount("/proc/thread-self/ns/net", path, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("keep network namespace: %w", err)
	}
	return nil
}

// mountSysfs mounts the sysfs of the calling thread's namespace, unless DropSysfs
// was there. A container cannot: the namespace belongs to the host's user
// namespace, not to its own.
func mountSysfs(path string) error {
	mounted, err := isMount(path, unix.SYSFS_MAGIC)
	if mounted || err != nil {
		return err
	}
	err = unix.Mount("sysfs", path, "sysfs", sysfsFlags, "")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("mount sysfs: %w", err)
	}
	return nil
}

// DropSysfs takes the sysfs of a dyno away whose container has it: each start of
// another one copies, and reads, all mounts of the host. Setup does not bring it
// back. It may be repeated.
func (n *Network) DropSysfs(ctx context.Context, id string) error {
	if !validID(id) {
		return fmt.Errorf("dyno id %q: %w", id, errdefs.ErrInvalidArgument)
	}
	release, err := n.dynos.take(ctx, id)
	if err != nil {
		return err
	}
	defer release()
	return unmount(sysPath(n.cfg.dir(id)), unix.SYSFS_MAGIC)
}

// connect opens the netlink socket in the calling thread's namespace.
func (s *namespace) connect() (err error) {
	s.links, err = openHandle(unix.NETLINK_ROUTE)
	return err
}

func (s *namespace) close() error {
	if s.links != nil {
		s.links.Close()
	}
	if !s.ns.IsOpen() {
		return nil
	}
	return s.ns.Close()
}

// isMount says whether a file system of the kind magic is mounted on path; a
// missing path is no mount.
func isMount(path string, magic int64) (bool, error) {
	var st unix.Statfs_t
	err := unix.Statfs(path, &st)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("inspect mount: %w", &fs.PathError{Op: "statfs", Path: path, Err: err})
	}
	return st.Type == magic, nil
}

// removeNamespace takes down what openNamespace made. The kernel ends the
// namespace, and the link in it, a little later, once nothing else holds it.
func removeNamespace(dir string) error {
	return errors.Join(
		unmount(sysPath(dir), unix.SYSFS_MAGIC),
		unmount(nsPath(dir), unix.NSFS_MAGIC),
	)
}

// unmount clears path of all mounts of the kind magic, and removes it.
func unmount(path string, magic int64) error {
	for {
		mounted, err := isMount(path, magic)
		if err != nil {
			return err
		}
		if !mounted {
			break
		}
		if err := unix.Unmount(path, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); err != nil {
			return fmt.Errorf("unmount %s: %w", path, err)
		}
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove mount point: %w", err)
	}
	return nil
}
