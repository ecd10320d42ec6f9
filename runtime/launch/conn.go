package launch

import (
	"errors"
	"fmt"
	"io"

	"golang.org/x/sys/unix"
)

// patience is how long one read or write of init may take, in seconds, before it gives the connection up and makes
// a new one.
const patience = 60

// Conn is init's end of a connection. It is used by one goroutine.
type Conn struct {
	fd       int
	received []int // descriptors that came along and were not taken yet
}

// Dial connects to the agent's socket at path. It does not wait: with no agent there it fails at once.
func Dial(path string) (*Conn, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("make socket: %w", err)
	}
	timeout := unix.Timeval{Sec: patience}
	err = errors.Join(
		unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &timeout),
		unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &timeout),
	)
	if err == nil {
		err = unix.Connect(fd, &unix.SockaddrUnix{Name: path})
	}
	if err != nil {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("connect to agent: %w", err)
	}
	return &Conn{fd: fd}, nil
}

// Read takes bytes, and keeps the descriptors that come with them.
func (c *Conn) Read(p []byte) (int, error) {
	oob := make([]byte, unix.CmsgSpace(4*Descriptors))
	n, oobn, flags, _, err := unix.Recvmsg(c.fd, p, oob, unix.MSG_CMSG_CLOEXEC)
	if errors.Is(err, unix.EINTR) {
		return 0, nil // io.ReadFull asks again
	}
	if err != nil {
		return 0, fmt.Errorf("receive from agent: %w", err)
	}
	if err := c.keep(oob[:oobn]); err != nil {
		return 0, err
	}
	if flags&unix.MSG_CTRUNC != 0 {
		return 0, fmt.Errorf("%w: more than %d descriptors", ErrFrame, Descriptors)
	}
	if n == 0 {
		return 0, io.EOF
	}
	return n, nil
}

func (c *Conn) keep(oob []byte) error {
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return fmt.Errorf("parse control message: %w", err)
	}
	for _, m := range messages {
		fds, err := unix.ParseUnixRights(&m)
		if err != nil {
			return fmt.Errorf("parse descriptors: %w", err)
		}
		c.received = append(c.received, fds...)
	}
	return nil
}

// Write sends all of p. An agent that is gone is an error, not SIGPIPE.
func (c *Conn) Write(p []byte) (int, error) {
	sent := 0
	for sent < len(p) {
		n, err := unix.SendmsgN(c.fd, p[sent:], nil, nil, unix.MSG_NOSIGNAL)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return sent, fmt.Errorf("send to agent: %w", err)
		}
		sent += n
	}
	return sent, nil
}

// Say sends a state with its reason, which is cut to what a frame may hold.
func (c *Conn) Say(kind Kind, reason string) error {
	_, err := c.Write(Frame(kind, []byte(reason)[:min(len(reason), MaxState)]))
	return err
}

// ReceivePlan takes a plan and its descriptors, which belong to the caller then.
func (c *Conn) ReceivePlan() (Plan, [Descriptors]int, error) {
	var fds [Descriptors]int
	kind, payload, err := Read(c)
	if err != nil {
		return Plan{}, fds, err
	}
	if kind != Plans || len(c.received) != Descriptors {
		return Plan{}, fds, fmt.Errorf("%w: kind %q with %d descriptors instead of a plan", ErrFrame, byte(kind), len(c.received))
	}
	plan, err := Decode(payload)
	if err != nil {
		return Plan{}, fds, err
	}
	copy(fds[:], c.received)
	c.received = nil
	return plan, fds, nil
}

// ReceiveAck waits until the agent has heard the state.
func (c *Conn) ReceiveAck() error {
	kind, _, err := Read(c)
	if err != nil {
		return err
	}
	if kind != Ack {
		return fmt.Errorf("%w: kind %q instead of an acknowledgement", ErrFrame, byte(kind))
	}
	return nil
}

// Close ends the connection and closes descriptors that nobody took.
func (c *Conn) Close() {
	for _, fd := range append(c.received, c.fd) {
		_ = unix.Close(fd)
	}
}
