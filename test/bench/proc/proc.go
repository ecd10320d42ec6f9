// Package proc reads what processes cost: CPU time and memory.
package proc

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// CPU is what a process has used over all its threads, those that have ended too; 0 for one that is gone.
func CPU(pid int) (time.Duration, error) {
	const ofProcess = 2 // CPUCLOCK_SCHED of the whole process
	var ts unix.Timespec
	err := unix.ClockGettime(int32(^pid<<3|ofProcess), &ts)
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ESRCH) {
		return 0, nil
	}
	return time.Duration(ts.Nano()), err
}

// Name is the name of its program; empty for one that is gone.
func Name(pid int) string {
	data, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
	return strings.TrimSpace(string(data))
}

// Memory is a process's part of the memory that it holds, in bytes; what several hold is shared out among them. 0 for
// one that is gone.
func Memory(pid int) (int64, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ESRCH) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	return field(data, "Pss:")
}

// Kernel is what the kernel uses itself and cannot give back, in bytes.
func Kernel() (sum int64, err error) {
	free, err := freeSlab()
	if err != nil {
		return 0, err
	}
	data, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return 0, err
	}
	for _, name := range []string{"SUnreclaim:", "KernelStack:", "PageTables:", "Percpu:"} {
		n, err := field(data, name)
		if err != nil {
			return 0, err
		}
		sum += n
	}
	return sum - free, nil
}

// field reads "<name>   <n> kB".
func field(data []byte, name string) (n int64, err error) {
	_, rest, found := bytes.Cut(data, []byte(name))
	if !found {
		return 0, fmt.Errorf("there is no %s", name)
	}
	_, err = fmt.Sscanf(string(rest), "%d kB", &n)
	return n << 10, err
}
