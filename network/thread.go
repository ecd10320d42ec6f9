package network

import (
	"fmt"
	"os"
	goruntime "runtime"

	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// onThread runs f on a thread of its own that is thrown away afterwards, so
// that f may change the thread's network namespace without a way back. If f
// unlocks the thread, it is kept.
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

// within runs f on a thread inside the namespace ns. If the thread finds its way back it is kept: to make one for each look into a
// dyno costs more than the look.
func within(ns netns.NsHandle, f func() error) error {
	return onThread(func() error {
		home, err := netns.Get()
		if err != nil {
			return fmt.Errorf("open own network namespace: %w", err)
		}
		defer home.Close()
		if err := netns.Set(ns); err != nil {
			return fmt.Errorf("enter network namespace: %w", err)
		}
		err = f()
		if netns.Set(home) == nil {
			goruntime.UnlockOSThread()
		}
		return err
	})
}
