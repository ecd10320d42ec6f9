package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// process is one that helps.
type process struct {
	pid  int
	name string
}

// usage is the CPU time of every process of the lab but generators, to the nanosecond and over all its threads, those
// that have ended too.
func (b *bench) usage() (map[process]time.Duration, error) {
	pids, err := b.Lab.Processes()
	if err != nil {
		return nil, err
	}
	used := map[process]time.Duration{}
	for _, pid := range pids {
		name, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
		if err != nil || string(name) == "gen\n" {
			continue
		}
		const ofProcess = 2 // CPUCLOCK_SCHED of the whole process
		var ts unix.Timespec
		err = unix.ClockGettime(int32(^pid<<3|ofProcess), &ts)
		if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ESRCH) {
			continue // has ended
		}
		if err != nil {
			return nil, fmt.Errorf("read CPU time of process %d: %w", pid, err)
		}
		used[process{pid, strings.TrimSpace(string(name))}] = time.Duration(ts.Nano())
	}
	return used, nil
}

// lend has the kernel touch as much memory as any arm's files take, and free it: a virtual machine's first touch of a page can
// cost more than all that is measured, and falls on whoever comes upon it.
func (b *bench) lend() error {
	name := filepath.Join(b.Lab.Dir(), "lent")
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	defer os.Remove(name)
	piece := make([]byte, 1<<20)
	for left := 2 * b.lines * lineBytes; left > 0 && err == nil; left -= len(piece) {
		_, err = f.Write(piece)
	}
	return errors.Join(err, f.Close())
}

// touch makes an empty file in a directory, which may be one inside a container.
func touch(dir, name string) error { return os.WriteFile(filepath.Join(dir, name), nil, 0o644) }
