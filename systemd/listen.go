package systemd

import (
	"errors"
	"fmt"
	"net"
	"os"

	"github.com/coreos/go-systemd/v22/activation"
)

// Listeners takes over the sockets that the service manager opened for this process, by their FileDescriptorName=.
// The first call gets them all, a later one none. On an error nothing stays open.
func Listeners() (map[string]net.Listener, error) {
	listeners := map[string]net.Listener{}
	var errs []error
	for _, file := range activation.Files(true) {
		if err := take(listeners, file); err != nil {
			errs = append(errs, fmt.Errorf("take over socket %q: %w", file.Name(), err))
		}
	}
	if len(errs) == 0 {
		return listeners, nil
	}
	for _, l := range listeners {
		_ = l.Close() // nobody used it
	}
	return nil, errors.Join(errs...)
}

// take makes a listener of file and closes file.
func take(listeners map[string]net.Listener, file *os.File) error {
	defer func() { _ = file.Close() }() // the listener has a duplicate
	if _, double := listeners[file.Name()]; double {
		return errors.New("name given twice")
	}
	l, err := net.FileListener(file)
	if err != nil {
		return err
	}
	listeners[file.Name()] = l
	return nil
}
