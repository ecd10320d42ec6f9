package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// hold lets go of the pipes when ctx ends, because the process does.
func hold(ctx context.Context) error {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err != nil {
		return fmt.Errorf("make sockets: %w", err)
	}
	done := make(chan error, 2)
	for _, out := range []*os.File{os.Stdout, os.Stderr} {
		go func() {
			_, err := fmt.Fprintln(out, "held")
			for err == nil || errors.Is(err, unix.EINTR) {
				_, err = unix.Splice(pair[1], nil, int(out.Fd()), nil, 1, 0)
			}
			done <- err
		}()
	}
	select {
	case err := <-done:
		return fmt.Errorf("hold: %w", err)
	case <-ctx.Done():
		return nil
	}
}
