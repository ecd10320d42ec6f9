package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"sync"
	"syscall"

	dynodv1 "github.com/dynod/dynod/proto/dynod/v1"
)

// commandStatus is the end of a command in a dyno, or of doctor: dynoctl leaves with its status and says nothing more.
type commandStatus int

func (s commandStatus) Error() string { return fmt.Sprintf("the command ended with status %d", int(s)) }

// session is an open AttachDyno or ExecDyno call, in the words of the first.
type session struct {
	send func(*dynodv1.AttachDynoRequest) error
	recv func() (heard, error)
}

// heard is one answer: output, or the exit, which is last.
type heard struct {
	out, errOut []byte
	exit        *dynodv1.Exit
}

// converse carries bytes, sizes of the terminal and signals both ways until the command has ended. Its error is a
// commandStatus then. hangUp ends the call.
func (c *ctl) converse(s session, tty bool, hangUp func()) error {
	restore, err := c.rawMode(tty)
	if err != nil {
		return err
	}
	defer restore()
	var one sync.Mutex // a stream sends one message at a time
	send := func(m *dynodv1.AttachDynoRequest) error {
		one.Lock()
		defer one.Unlock()
		return s.send(m)
	}
	interrupted := make(chan os.Signal, 1)
	stop := c.passSignals(tty, send, func(sig os.Signal) {
		interrupted <- sig
		hangUp()
	})
	defer stop()
	go sendInput(c.in, send)
	err = c.hearAll(s)
	select {
	case sig := <-interrupted:
		return fmt.Errorf("ended by the signal %q: the command gets SIGHUP", sig)
	default:
		return err
	}
}

// hearAll writes what the command writes, to its end.
func (c *ctl) hearAll(s session) error {
	for {
		h, err := s.recv()
		if errors.Is(err, io.EOF) {
			return errors.New("the agent ended the session without telling the command's status")
		}
		if err != nil {
			return err
		}
		if _, err := c.out.Write(h.out); err != nil {
			return fmt.Errorf("write output: %w", err)
		}
		if _, err := c.errOut.Write(h.errOut); err != nil {
			return fmt.Errorf("write output: %w", err)
		}
		if h.exit != nil {
			return statusError(h.exit)
		}
	}
}

// statusError is the end of a command or a dyno; nil for status 0.
func statusError(e *dynodv1.Exit) error {
	switch {
	case e.GetPlatformFailure() != "":
		return fmt.Errorf("its status is lost: %s", e.GetPlatformFailure())
	case e.GetCode() != 0:
		return commandStatus(e.GetCode())
	}
	return nil
}

// sendInput ends with the session, or with the process.
func sendInput(from io.Reader, send func(*dynodv1.AttachDynoRequest) error) {
	const chunk = 32 << 10
	buffer := make([]byte, chunk)
	for {
		n, err := from.Read(buffer)
		if n > 0 && send(&dynodv1.AttachDynoRequest{Message: &dynodv1.AttachDynoRequest_Stdin{Stdin: buffer[:n]}}) != nil {
			return
		}
		if err != nil {
			_ = send(&dynodv1.AttachDynoRequest{Message: &dynodv1.AttachDynoRequest_StdinEnd{StdinEnd: &dynodv1.StdinEnd{}}})
			return
		}
	}
}

// passSignals forwards what this process gets: new sizes of its terminal, and other signals to the command. With a
// terminal those do not come from its user, whose keys are input: they end the session.
func (c *ctl) passSignals(tty bool, send func(*dynodv1.AttachDynoRequest) error, end func(os.Signal)) (stop func()) {
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGWINCH, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT)
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		for {
			select {
			case sig := <-signals:
				switch {
				case sig == syscall.SIGWINCH:
					c.sendSize(tty, send)
				case tty:
					end(sig)
				default:
					number := int32(sig.(syscall.Signal)) //nolint:forcetypeassert // it is, on Linux
					_ = send(&dynodv1.AttachDynoRequest{Message: &dynodv1.AttachDynoRequest_Signal{Signal: number}})
				}
			case <-ctx.Done():
				return
			}
		}
	}()
	return func() { signal.Stop(signals); cancel() }
}

// sendSize tells the command the size of its user's terminal.
func (c *ctl) sendSize(tty bool, send func(*dynodv1.AttachDynoRequest) error) {
	if size := c.size(); tty && size != nil {
		_ = send(&dynodv1.AttachDynoRequest{Message: &dynodv1.AttachDynoRequest_Resize{Resize: size}})
	}
}

// detached is a context for a session: until settled is called it ends with ctx, which the first signal ends; after
// that signals are the command's.
func detached(ctx context.Context) (session context.Context, settled, hangUp func()) {
	session, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, cancel)
	return session, func() { stop() }, cancel
}
