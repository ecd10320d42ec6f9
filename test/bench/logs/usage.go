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

// touch makes an empty file in a directory, which may be one inside a container.
func touch(dir, name string) error { return os.WriteFile(filepath.Join(dir, name), nil, 0o644) }
