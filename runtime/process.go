package runtime

import (
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"syscall"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"

	"github.com/dynod/dynod/runtime/launch"
)

// process is a process that cannot be taken for another one, however its number is used again.
type process struct {
	pid  int
	file *os.File      // a pidfd, in the poller
	turn chan struct{} // holds a token while somebody stands at its door

	waits atomic.Pointer[launch.Conn] // of a dyno-init that waits for its plan already; nil: it comes when it is knocked for
}

// openProcess takes hold of a process; NotFound if it is gone.
func openProcess(pid int) (*process, error) {
	fd, err := unix.PidfdOpen(pid, unix.PIDFD_NONBLOCK)
	if errors.Is(err, unix.ESRCH) {
		return nil, fmt.Errorf("open process %d: %w", pid, errdefs.ErrNotFound)
	}
	if err != nil {
		return nil, fmt.Errorf("open process %d: %w", pid, err)
	}
	return &process{pid: pid, file: os.NewFile(uintptr(fd), "pidfd"), turn: make(chan struct{}, 1)}, nil
}

func (p *process) close() {
	if conn := p.waits.Swap(nil); conn != nil {
		conn.Close()
	}
	_ = p.file.Close()
}

// control runs f on the descriptor; NotFound when the process was let go of meanwhile.
func (p *process) control(f func(fd int) error) error {
	raw, err := p.file.SyscallConn()
	if err != nil {
		return fmt.Errorf("use process %d: %w: %w", p.pid, errdefs.ErrNotFound, err)
	}
	var result error
	if err := raw.Control(func(fd uintptr) { result = f(int(fd)) }); err != nil {
		return fmt.Errorf("use process %d: %w: %w", p.pid, errdefs.ErrNotFound, err)
	}
	return result
}

// signal sends s; NotFound if the process has ended. A dyno-init from before those that sleep takes it as it is.
func (p *process) signal(s syscall.Signal) error {
	if sure := launch.Sure(s); sure != s && p.sleeps() {
		s = sure
	}
	return p.control(func(fd int) error {
		err := unix.PidfdSendSignal(fd, s, nil, 0)
		if errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("signal process %d: %w", p.pid, errdefs.ErrNotFound)
		}
		return err
	})
}

// ended says whether the process has, or was let go of.
func (p *process) ended() bool {
	ended := false
	err := p.control(func(fd int) error {
		ended = readable(fd)
		return nil
	})
	return err != nil || ended
}

// readable is what a pidfd becomes when its process ends.
func readable(fd int) bool {
	fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	n, err := unix.Poll(fds, 0)
	return err == nil && n > 0
}

// watch calls f once the process has ended, from another goroutine. stop makes an end of watching, and
// returns when f runs no more and never will.
func (p *process) watch(f func()) (stop func(), err error) {
	copied := -1
	err = p.control(func(fd int) (err error) {
		copied, err = unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
		return err
	})
	if err != nil {
		return nil, err
	}
	file := os.NewFile(uintptr(copied), "pidfd")
	raw, err := file.SyscallConn()
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		if raw.Read(func(fd uintptr) bool { return readable(int(fd)) }) == nil {
			f()
		}
	}()
	return func() {
		_ = file.Close() // ends the Read
		<-done
	}, nil
}
