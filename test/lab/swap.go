package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"unsafe"

	"github.com/prometheus/procfs"
	"golang.org/x/sys/unix"
)

// maxSwap bounds what tests may take of the machine's disk, in MiB.
const maxSwap = 512

// Swap gives the machine a swap file of so many MiB until the lab closes. It serves every process of the machine: a lab
// has no memory of its own.
func (l *Lab) Swap(ctx context.Context, mib int) error {
	if mib < 1 || mib > maxSwap {
		return fmt.Errorf("add swap: %d MiB are not 1 to %d", mib, maxSwap)
	}
	path := filepath.Join(l.dir, "swap")
	if err := allocate(path, int64(mib)<<20); err != nil {
		return fmt.Errorf("add swap: %w", err)
	}
	if out, err := exec.CommandContext(ctx, "/sbin/mkswap", path).CombinedOutput(); err != nil {
		return fmt.Errorf("format swap: %w: %s", err, out)
	}
	if err := swapCall(unix.SYS_SWAPON, path); err != nil {
		return fmt.Errorf("turn on swap: %w", err)
	}
	return nil
}

// allocate makes a file without holes.
func allocate(path string, size int64) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	return errors.Join(unix.Fallocate(int(f.Fd()), 0, 0, size), f.Close())
}

// swapOff turns off the lab's swap. What is in it must find room in memory, so the lab's processes go first.
func (l *Lab) swapOff() error {
	fs, err := procfs.NewDefaultFS()
	if err != nil {
		return fmt.Errorf("list swap: %w", err)
	}
	swaps, err := fs.Swaps()
	if err != nil {
		return fmt.Errorf("list swap: %w", err)
	}
	var errs []error
	for _, s := range swaps {
		if below(s.Filename, l.dir) {
			errs = append(errs, swapCall(unix.SYS_SWAPOFF, s.Filename))
		}
	}
	return errors.Join(errs...)
}

func swapCall(number uintptr, path string) error {
	name, err := unix.BytePtrFromString(path)
	if err != nil {
		return err
	}
	if _, _, errno := unix.Syscall(number, uintptr(unsafe.Pointer(name)), 0, 0); errno != 0 {
		return fmt.Errorf("%s: %w", path, errno)
	}
	return nil
}
