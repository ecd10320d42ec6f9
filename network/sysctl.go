package network

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// setting is a value below /proc/sys/net, which the kernel resolves in the
// network namespace of the thread that opens the file.
type setting struct{ name, value string }

// apply writes settings for the calling thread's namespace, and says whether
// any had another value before.
func apply(settings ...setting) (changed bool, err error) {
	for _, s := range settings {
		path := filepath.Join("/proc/sys/net", s.name)
		old, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) && strings.HasPrefix(s.name, "ipv6/") {
			continue // a kernel without IPv6 has nothing to turn off
		}
		if err != nil {
			return changed, fmt.Errorf("read kernel setting: %w", err)
		}
		if strings.TrimSpace(string(old)) == s.value {
			continue
		}
		if err := os.WriteFile(path, []byte(s.value), 0); err != nil {
			return changed, fmt.Errorf("write kernel setting: %w", err)
		}
		changed = true
	}
	return changed, nil
}

// forward turns IPv4 forwarding on in the host's namespace.
func (n *Network) forward() error {
	return within(n.ns, func() error {
		changed, err := apply(setting{"ipv4/ip_forward", "1"})
		if changed {
			n.log.Info("turned IPv4 forwarding on")
		}
		return err
	})
}

// linkSettings are the directories of the settings of links in one namespace. They
// are kept open: on the way there the kernel compares the entries of every
// namespace of the host.
type linkSettings struct {
	v4 *os.Root
	v6 *os.Root // nil for a kernel without IPv6
}

// openLinkSettings opens those of the calling thread's namespace.
func openLinkSettings() (s linkSettings, err error) {
	if s.v4, err = os.OpenRoot("/proc/sys/net/ipv4/conf"); err != nil {
		return s, fmt.Errorf("open kernel settings: %w", err)
	}
	s.v6, err = os.OpenRoot("/proc/sys/net/ipv6/conf")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return s, fmt.Errorf("open kernel settings: %w", err)
	}
	return s, nil
}

// hostEnd makes the settings of the host's end of a dyno's link: no IPv6, only
// answers from the dyno's own address, no talk about the host's other addresses.
func (s linkSettings) hostEnd(link string) error {
	all := []struct {
		of *os.Root
		setting
	}{
		{s.v6, setting{"disable_ipv6", "1"}},
		{s.v4, setting{"rp_filter", "1"}},
		{s.v4, setting{"arp_ignore", "1"}},
		{s.v4, setting{"accept_redirects", "0"}},
		{s.v4, setting{"send_redirects", "0"}},
	}
	for _, one := range all {
		if one.of == nil {
			continue
		}
		if err := one.of.WriteFile(filepath.Join(link, one.name), []byte(one.value), 0); err != nil {
			return fmt.Errorf("write kernel setting: %w", err)
		}
	}
	return nil
}

func (s linkSettings) close() (err error) {
	for _, of := range []*os.Root{s.v4, s.v6} {
		if of != nil {
			err = errors.Join(err, of.Close())
		}
	}
	return err
}

// disableIPv6 turns IPv6 off in the calling thread's namespace, for the links that it
// has and for those to come. The way there is by a proc file system of its own: in
// that of the host the kernel would compare the entries of every namespace first.
func disableIPv6() error {
	proc, err := openProc()
	if err != nil {
		return err
	}
	defer unix.Close(proc)
	file, err := unix.Openat(proc, "sys/net/ipv6/conf/all/disable_ipv6", unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // a kernel without IPv6
	}
	if err != nil {
		return fmt.Errorf("open kernel setting: %w", err)
	}
	defer unix.Close(file)
	if _, err := unix.Write(file, []byte("1")); err != nil {
		return fmt.Errorf("turn IPv6 off: %w", err)
	}
	return nil
}

// openProc opens a new proc file system that is nowhere to be seen.
func openProc() (int, error) {
	made, err := unix.Fsopen("proc", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return -1, fmt.Errorf("open proc file system: %w", err)
	}
	defer unix.Close(made)
	if err := unix.FsconfigCreate(made); err != nil {
		return -1, fmt.Errorf("make proc file system: %w", err)
	}
	proc, err := unix.Fsmount(made, unix.FSMOUNT_CLOEXEC, unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NODEV|unix.MOUNT_ATTR_NOEXEC)
	if err != nil {
		return -1, fmt.Errorf("mount proc file system: %w", err)
	}
	return proc, nil
}
