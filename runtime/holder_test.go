package runtime_test

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dynod/dynod/runtime"
)

// TestHangUpOnAHolder: whoever hangs up on a command that holds its pipe, and so whoever reads it, does not wait for that.
func TestHangUpOnAHolder(t *testing.T) {
	t.Run("all", func(t *testing.T) {
		hangUp(t, func(r *os.File) error { return (&runtime.Stdio{Output: r}).Close() })
	})
	t.Run("input", func(t *testing.T) {
		hangUp(t, func(r *os.File) error { return (&runtime.Stdio{Input: r}).CloseInput() })
	})
}

func hangUp(t *testing.T, hangUp func(r *os.File) error) {
	t.Helper()
	r, w, err := os.Pipe()
	pair, noPair := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	must(t, errors.Join(err, noPair))
	fd := int(w.Fd())
	done := make(chan struct{}, 2)
	thread := make(chan int, 1)
	go func() {
		thread <- unix.Gettid()
		_, _ = unix.Splice(pair[1], nil, fd, nil, 1, 0)
		done <- struct{}{}
	}()
	waits(t, <-thread, unix.SYS_SPLICE)
	go func() {
		thread <- unix.Gettid()
		_, _ = r.Read(make([]byte, 1))
		done <- struct{}{}
	}()
	waits(t, <-thread, unix.SYS_READ)
	closed := make(chan error, 1)
	go func() { closed <- hangUp(r) }()
	select {
	case err := <-closed:
		must(t, err)
	case <-time.After(20 * time.Second):
		t.Error("it is waited for")
	}
	_, err = unix.Write(pair[0], []byte("x"))
	must(t, err)
	<-done
	<-done
	must(t, errors.Join(w.Close(), unix.Close(pair[0]), unix.Close(pair[1])))
}

// waits returns when a thread of this process is in a system call.
func waits(t *testing.T, thread, call int) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(time.Millisecond) {
		b, _ := os.ReadFile(fmt.Sprintf("/proc/self/task/%d/syscall", thread))
		if strings.HasPrefix(string(b), fmt.Sprint(call, " ")) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("not in system call %d: %s", call, b)
		}
	}
}
