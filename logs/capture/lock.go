package capture

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"
)

// lock keeps other captures away. It lies beside the socket and is held until the process is really gone: one that was
// killed while it waits for a disk may write to it yet.
type lock struct {
	file *os.File
	held bool // otherwise by a process that is dying
}

// takeLock takes the lock, or finds that it is free as soon as a dying process is gone.
func takeLock(dir string) (*lock, error) {
	f, err := os.OpenFile(filepath.Join(dir, "capture.lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock: %w", err)
	}
	l := &lock{file: f}
	err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		if dying(l.holder()) {
			return l, nil
		}
		err = fmt.Errorf("another capture runs: %w", errdefs.ErrAlreadyExists)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("lock: %w", err), f.Close())
	}
	l.sign()
	return l, nil
}

// wait returns when no other process has the lock.
func (l *lock) wait() error {
	if l.held {
		return nil
	}
	for {
		err := unix.Flock(int(l.file.Fd()), unix.LOCK_EX)
		if err == nil {
			l.sign()
			return nil
		}
		if !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("lock: %w", err)
		}
	}
}

// sign says in the file who has the lock. A full disk may not take it: then nobody takes over from this process while it dies.
func (l *lock) sign() {
	l.held = true
	if _, err := l.file.WriteAt(fmt.Appendf(nil, "%-20d\n", os.Getpid()), 0); err != nil {
		_ = l.file.Truncate(0)
	}
}

// holder is 0 if it is not known.
func (l *lock) holder() int {
	b := make([]byte, 21)
	n, _ := l.file.ReadAt(b, 0)
	pid, _ := strconv.Atoi(string(bytes.TrimSpace(b[:n])))
	return pid
}

// dying tells whether a process was killed and is not gone yet, because one of its threads waits for a disk: its other
// threads are gone, or never run again.
func dying(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return false
	}
	for line := range strings.Lines(string(b)) {
		switch name, value, _ := strings.Cut(strings.TrimSpace(line), ":\t"); name {
		case "State":
			if value[0] == 'Z' || value[0] == 'X' {
				return true
			}
		case "SigPnd":
			pending, err := strconv.ParseUint(value, 16, 64)
			return err == nil && pending&(1<<(unix.SIGKILL-1)) != 0
		}
	}
	return false
}
