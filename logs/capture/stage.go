package capture

import (
	"errors"
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// newPipe makes a pipe as large as is allowed.
func newPipe() (fds [2]int, err error) {
	err = unix.Pipe2(fds[:], unix.O_CLOEXEC)
	for size := pipeBytes; err == nil && size > 64<<10; size /= 2 {
		if _, refused := unix.FcntlInt(uintptr(fds[0]), unix.F_SETPIPE_SZ, size); refused == nil {
			break
		}
	}
	if err == nil { // the dyno gets it; the group stays capture's own, for full
		err = unix.Fchmod(fds[0], 0o620)
	}
	return fds, err
}

// newStage makes the pipe in which bytes of one stream are on their way to the disk. One descriptor is both its ends, and
// all holders have copies of it: to open the pipe once more takes its lock, which a write that hangs has.
func newStage() (int, error) {
	fds, err := newPipe()
	if err != nil {
		return -1, err
	}
	defer closeAll(fds[:])
	fd, err := unix.Open(ownPath(fds[0]), unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("open stage: %w", err)
	}
	return fd, nil
}

func ownPath(fd int) string { return "/proc/self/fd/" + strconv.Itoa(fd) }

func isPipe(fd int) bool {
	var st unix.Stat_t
	return unix.Fstat(fd, &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFIFO
}

// isStage takes no lock of the pipe.
func isStage(fd int) bool {
	flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
	return err == nil && flags&unix.O_ACCMODE == os.O_RDWR && isPipe(fd)
}

// full tells whether a dyno that wrote into the pipe now would have to wait. The number of bytes does not say so: a pipe
// holds so many pieces, which may be small.
func full(fd int) bool {
	w, err := unix.Open(ownPath(fd), unix.O_WRONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return true
	}
	defer unix.Close(w)
	poll := []unix.PollFd{{Fd: int32(w), Events: unix.POLLOUT}}
	_, err = unix.Poll(poll, 0)
	return err != nil || poll[0].Revents&unix.POLLOUT == 0
}

// splice moves what is there from one pipe to another, or to a file at at, and waits for neither pipe.
func splice(from, to int, at *int64, limit int64) (int64, error) {
	n, err := unix.Splice(from, nil, to, at, int(limit), unix.SPLICE_F_NONBLOCK)
	return max(0, n), err
}

// later tells that nothing is wrong but that there is nothing now.
func later(err error) bool { return errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR) }
