// Package inside changes the namespaces of a process that waits: its host's name and what is mounted. It enters them with a
// thread that is thrown away afterwards, and runs no program.
package inside

import (
	"fmt"
	"os"
	goruntime "runtime"

	"golang.org/x/sys/unix"
)

// Change is what to change.
type Change struct {
	Hostname string
	Mount    *os.File // a mount that is nowhere attached
	At       string   // the absolute path, as the process sees it, where Mount is to be; no part of it may be a link
}

// Make makes the change in the namespaces of the process behind a pidfd.
func Make(process int, c Change) error {
	return onThread(func() error {
		// The root and the working directory are shared with other threads until then.
		if err := unix.Unshare(unix.CLONE_FS); err != nil {
			return fmt.Errorf("leave own root: %w", err)
		}
		if err := unix.Setns(process, unix.CLONE_NEWNS|unix.CLONE_NEWUTS); err != nil {
			return fmt.Errorf("enter namespaces: %w", err)
		}
		if err := unix.Sethostname([]byte(c.Hostname)); err != nil {
			return fmt.Errorf("set host name: %w", err)
		}
		return attach(c)
	})
}

func attach(c Change) error {
	at, err := unix.Openat2(unix.AT_FDCWD, c.At, &unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC | unix.O_DIRECTORY, Resolve: unix.RESOLVE_NO_SYMLINKS})
	if err != nil {
		return fmt.Errorf("open %s: %w", c.At, err)
	}
	defer unix.Close(at)
	const both = unix.MOVE_MOUNT_F_EMPTY_PATH | unix.MOVE_MOUNT_T_EMPTY_PATH
	if err := unix.MoveMount(int(c.Mount.Fd()), "", at, "", both); err != nil {
		return fmt.Errorf("mount on %s: %w", c.At, err)
	}
	return nil
}

// onThread runs f on a thread that ends with it.
func onThread(f func() error) error {
	done := make(chan error, 1)
	go func() {
		goruntime.LockOSThread()
		if unix.Gettid() == os.Getpid() {
			// The main thread cannot be thrown away. Holding it here keeps the next try off it.
			err := onThread(f)
			goruntime.UnlockOSThread()
			done <- err
			return
		}
		done <- f() // still locked: the thread ends with this goroutine
	}()
	return <-done
}
