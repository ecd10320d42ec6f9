package runtime

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// WindowSize is the size of a terminal in characters.
type WindowSize struct{ Rows, Columns uint16 }

// Attach says how a command talks to a caller, where it does not write into the log.
type Attach struct {
	Terminal bool
	Size     WindowSize // of the terminal, at its start; zero: the kernel's
}

// Stdio is the caller's side of a command that was started with an Attach. Its files are the caller's. A read of the
// output ends, with io.EOF or with a terminal's EIO, when the last process that could write is gone.
type Stdio struct {
	Input    *os.File // what is written here the command reads
	Output   *os.File // what it writes; with a terminal the same file as Input
	Errors   *os.File // what it writes to standard error, where that is apart; else nil
	Terminal bool
}

// endOfTransmission is the character by which a terminal tells its reader that there is no more.
const endOfTransmission = 4

// CloseInput says that no more input will come.
func (s *Stdio) CloseInput() error {
	if s.Terminal {
		_, err := s.Input.Write([]byte{endOfTransmission})
		return err
	}
	return closeSoon(s.Input.Close)
}

// Resize changes the size of the terminal, whose foreground processes get SIGWINCH; without one it does nothing.
func (s *Stdio) Resize(size WindowSize) error {
	if !s.Terminal {
		return nil
	}
	raw, err := s.Input.SyscallConn()
	if err != nil {
		return fmt.Errorf("resize terminal: %w", err)
	}
	var set error
	err = raw.Control(func(fd uintptr) {
		set = unix.IoctlSetWinsize(int(fd), unix.TIOCSWINSZ, &unix.Winsize{Row: size.Rows, Col: size.Columns})
	})
	return errors.Join(err, set)
}

// Close hangs up: a terminal's processes get SIGHUP from the kernel, others read end of file, and SIGPIPE when they write.
func (s *Stdio) Close() error { return closeSoon(s.close) }

// closeLimit bounds closeSoon.
const closeLimit = time.Second

// closeSoon closes pipes. A command that holds its pipe, by splice(2) from where nothing comes, holds up whoever reads or
// closes it: that is not waited for.
func closeSoon(close func() error) error {
	done := make(chan error, 1)
	go func() { done <- close() }()
	select {
	case err := <-done:
		return err
	case <-time.After(closeLimit):
		return nil
	}
}

func (s *Stdio) close() error {
	var errs []error
	for _, f := range []*os.File{s.Input, s.Output, s.Errors} {
		if f == nil {
			continue
		}
		if err := f.Close(); err != nil && !errors.Is(err, os.ErrClosed) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// Process is a command that Exec has started in a dyno.
type Process interface {
	// Stdio is the caller's side of it.
	Stdio() *Stdio
	// Wait returns its status, code or 128 + signal, once it has ended. NotFound: the dyno ended, or contact was lost,
	// before that was told.
	Wait(ctx context.Context) (code int, err error)
	// Signal sends a signal to it and to the processes of its group. NotFound: it has ended, or contact was lost.
	Signal(sig syscall.Signal) error
	// Close hangs up, and closes the Stdio: if it still runs, it and the processes of its group get SIGHUP. It may be
	// called again.
	Close() error
}
