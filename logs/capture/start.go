package capture

import (
	"errors"
	"fmt"
	"math"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// maxLog is the size over which capture's own log file is begun anew.
const maxLog = 1 << 20

// Start runs capture as a process that outlives the caller: a session of its own, none of the caller's descriptors, its
// standard error appended to the file log. It is a child of the caller, see Reap.
func Start(argv []string, log string) (pid int, err error) {
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return 0, fmt.Errorf("start capture: %w", err)
	}
	defer null.Close()
	flags := os.O_CREATE | os.O_WRONLY | os.O_APPEND
	if fi, err := os.Stat(log); err == nil && fi.Size() > maxLog {
		flags |= os.O_TRUNC
	}
	out, err := os.OpenFile(log, flags, 0o600)
	if err != nil {
		return 0, fmt.Errorf("start capture: %w", err)
	}
	defer out.Close()
	// What this process inherited may lack the flag that keeps it from its children.
	_ = unix.CloseRange(3, math.MaxInt32, unix.CLOSE_RANGE_CLOEXEC)
	p, err := os.StartProcess(argv[0], argv, &os.ProcAttr{
		Dir: "/", Files: []*os.File{null, null, out}, Sys: &syscall.SysProcAttr{Setsid: true},
	})
	if err != nil {
		return 0, fmt.Errorf("start capture: %w", err)
	}
	pid = p.Pid // which Release forgets
	return pid, p.Release()
}

// Reap tells whether the process that Start made is over, and buries it then. It never waits: one that was killed but has
// a write that hangs is as good as over, and is buried later.
func Reap(pid int) (over bool) {
	got, err := unix.Wait4(pid, nil, unix.WNOHANG, nil)
	if got == pid || errors.Is(err, unix.ECHILD) {
		return true
	}
	if !dying(pid) {
		return false
	}
	go func() { _, _ = unix.Wait4(pid, nil, 0, nil) }()
	return true
}
