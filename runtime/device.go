package runtime

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// device is a whole disk: the kernel limits no traffic of partitions.
type device struct{ major, minor int64 }

// findDevice is the disk that holds a directory; nil where the filesystem has none of its own, as on tmpfs or btrfs.
func findDevice(dir string) (*device, error) {
	var stat unix.Stat_t
	if err := unix.Stat(dir, &stat); err != nil {
		return nil, fmt.Errorf("find disk of %s: %w", dir, err)
	}
	path := fmt.Sprintf("/sys/dev/block/%d:%d", unix.Major(stat.Dev), unix.Minor(stat.Dev))
	if _, err := os.Stat(filepath.Join(path, "partition")); err == nil {
		path += "/.." // of the link's target, where the disk is
	}
	number, err := os.ReadFile(path + "/dev")
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("find disk of %s: %w", dir, err)
	}
	var d device
	if _, err := fmt.Sscanf(string(number), "%d:%d", &d.major, &d.minor); err != nil {
		return nil, fmt.Errorf("find disk of %s: read %q: %w", dir, number, err)
	}
	return &d, nil
}
