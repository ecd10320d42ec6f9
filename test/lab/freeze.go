package lab

import (
	"context"
	"slices"
	"time"

	"github.com/prometheus/procfs"
	"golang.org/x/sys/unix"
)

// Freeze stops a process and returns when it has stopped: threads that run go on for a moment after the signal. SIGCONT thaws it.
func Freeze(ctx context.Context, pid int) error {
	if err := unix.Kill(pid, unix.SIGSTOP); err != nil {
		return err
	}
	for ctx.Err() == nil {
		threads, err := procfs.AllThreads(pid)
		if err != nil {
			return err
		}
		if !slices.ContainsFunc(threads, running) {
			return nil
		}
		time.Sleep(time.Millisecond)
	}
	return ctx.Err()
}

// running is false for a thread that has ended meanwhile.
func running(thread procfs.Proc) bool {
	stat, err := thread.Stat()
	return err == nil && stat.State != "T"
}
