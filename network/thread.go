package network

import (
	"fmt"
	"os"
	goruntime "runtime"

	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// onThread runs f on a thread of its own that is thrown away afterwards, so
// that f may change the thread's network namespace without a way back.
func onThread(f func() error) error {
	done := make(chan error, 1)
	go func() {
		goruntime.LockOSThread()
		if unix.Gettid() == os.Getpid() {
			// The main thread cannot be thrown away, and stands for the whole
			// process in /proc. Holding it here keeps the next try off it.
			err := onThread(f)
			goruntime.UnlockOSThread()
			done <- err
			return
		}
		done <- f() // still locked: the thread ends with this goroutine
	}()
	return <-done
}

// within runs f on a thread inside the namespace ns.
func within(ns netns.NsHandle, f func() error) error {
	return onThread(func() error {
		if err := netns.Set(ns); err != nil {
			return fmt.Errorf("enter network namespace: %w", err)
		}
		return f()
	})
}
