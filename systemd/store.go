package systemd

import (
	"errors"
	"fmt"
	"net"
	"os"
	"slices"

	"github.com/coreos/go-systemd/v22/activation"
	"golang.org/x/sys/unix"
)

// NotifySocket is where the service manager listens, empty without one.
func NotifySocket() string { return os.Getenv("NOTIFY_SOCKET") }

// Kept gives the descriptors that the service manager kept for this process, by name; of those with the same name the
// last one. They are the caller's, plain numbers that Go's netpoller does not know. A second call finds none.
func Kept() (map[string]int, error) {
	kept := map[string]int{}
	for _, f := range activation.Files(true) {
		fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 0)
		if err := errors.Join(err, f.Close()); err != nil {
			return nil, fmt.Errorf("take kept descriptor %s: %w", f.Name(), err)
		}
		if last, twice := kept[f.Name()]; twice {
			_ = unix.Close(last)
		}
		kept[f.Name()] = fd
	}
	return kept, nil
}

// Listener is the socket that the service manager listens on for this process; nil without one. A second call finds none.
func Listener() (net.Listener, error) {
	all, err := activation.Listeners()
	if err != nil {
		return nil, fmt.Errorf("take listening socket: %w", err)
	}
	all = slices.DeleteFunc(all, func(l net.Listener) bool { return l == nil })
	switch len(all) {
	case 0:
		return nil, nil
	case 1:
		return all[0], nil
	}
	return nil, fmt.Errorf("take listening socket: %d given, want one", len(all))
}
