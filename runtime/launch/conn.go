package launch

import (
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Endpoint is what a connection is made of: an *os.File of a socket that does not block, or a *net.UnixConn.
type Endpoint interface {
	syscall.Conn
	SetReadDeadline(t time.Time) error
	SetWriteDeadline(t time.Time) error
	Close() error
}

// Conn is either end of a connection. One goroutine receives and another one may send; any may close it.
type Conn struct{ socket Endpoint }

// NewConn makes a connection of a socket, which is its own then.
func NewConn(s Endpoint) *Conn { return &Conn{socket: s} }

// Dial connects to the agent's socket at path: with no agent there it fails at once.
func Dial(path string) (*Conn, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("make socket: %w", err)
	}
	timeout := unix.Timeval{Sec: 60} // only where the agent does not accept
	err = unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &timeout)
	if err == nil {
		err = unix.Connect(fd, &unix.SockaddrUnix{Name: path})
	}
	if err == nil {
		err = unix.SetNonblock(fd, true)
	}
	if err != nil {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("connect to agent: %w", err)
	}
	return NewConn(os.NewFile(uintptr(fd), path)), nil
}

// Close ends the connection, and what waits on it.
func (c *Conn) Close() { _ = c.socket.Close() }

// Send sends one frame within a time, and descriptors with its first bytes. They stay the caller's. A peer that is
// gone is an error, not SIGPIPE.
func (c *Conn) Send(within time.Duration, kind Kind, payload []byte, fds ...int) error {
	if err := c.socket.SetWriteDeadline(time.Now().Add(within)); err != nil {
		return fmt.Errorf("send frame: %w", err)
	}
	raw, err := c.socket.SyscallConn()
	if err != nil {
		return fmt.Errorf("send frame: %w", err)
	}
	var rights []byte
	if len(fds) > 0 {
		rights = unix.UnixRights(fds...)
	}
	for rest := Frame(kind, payload); len(rest) > 0; {
		n, err := send(raw, rest, rights)
		if err != nil {
			return fmt.Errorf("send frame: %w", err)
		}
		if n > 0 {
			rest, rights = rest[n:], nil
		}
	}
	return nil
}

func send(raw syscall.RawConn, p, rights []byte) (n int, err error) {
	waited := raw.Write(func(fd uintptr) bool {
		n, err = unix.SendmsgN(int(fd), p, rights, nil, unix.MSG_NOSIGNAL)
		return !errors.Is(err, unix.EAGAIN)
	})
	if errors.Is(err, unix.EINTR) {
		return 0, waited
	}
	return max(n, 0), errors.Join(waited, err)
}

// Say sends a state with its reason, which is cut to what a frame may hold, and the terminal unless it is negative.
func (c *Conn) Say(within time.Duration, kind Kind, reason string, terminal int) error {
	var fds []int
	if terminal >= 0 {
		fds = append(fds, terminal)
	}
	return c.Send(within, kind, []byte(reason)[:min(len(reason), MaxState)], fds...)
}

// Message is a frame that was received.
type Message struct {
	Kind    Kind
	Payload []byte
	fds     []int
}

// Receive takes one frame and the descriptors that came with it; it waits for ever if within is zero.
func (c *Conn) Receive(within time.Duration) (*Message, error) {
	var deadline time.Time
	if within > 0 {
		deadline = time.Now().Add(within)
	}
	if err := c.socket.SetReadDeadline(deadline); err != nil {
		return nil, fmt.Errorf("receive frame: %w", err)
	}
	raw, err := c.socket.SyscallConn()
	if err != nil {
		return nil, fmt.Errorf("receive frame: %w", err)
	}
	r := &receiver{raw: raw}
	m := &Message{}
	m.Kind, m.Payload, err = Read(r)
	m.fds = r.fds
	if err != nil {
		m.Drop()
		return nil, err
	}
	return m, nil
}

// Take gives the descriptors to the caller. It is ErrFrame if there are not n.
func (m *Message) Take(n int) ([]int, error) {
	if len(m.fds) != n {
		return nil, fmt.Errorf("%w: kind %q with %d descriptors instead of %d", ErrFrame, byte(m.Kind), len(m.fds), n)
	}
	fds := m.fds
	m.fds = nil
	return fds, nil
}

// Drop closes the descriptors that nobody took.
func (m *Message) Drop() {
	for _, fd := range m.fds {
		_ = unix.Close(fd)
	}
	m.fds = nil
}

// receiver reads a connection and keeps the descriptors that come.
type receiver struct {
	raw syscall.RawConn
	fds []int
}

func (r *receiver) Read(p []byte) (n int, err error) {
	oob := make([]byte, unix.CmsgSpace(4*(LogPipes+Streams)))
	var oobn, flags int
	waited := r.raw.Read(func(fd uintptr) bool {
		n, oobn, flags, _, err = unix.Recvmsg(int(fd), p, oob, unix.MSG_CMSG_CLOEXEC)
		return !errors.Is(err, unix.EAGAIN)
	})
	if waited != nil {
		return 0, fmt.Errorf("receive: %w", waited)
	}
	if errors.Is(err, unix.EINTR) {
		return 0, nil // io.ReadFull asks again
	}
	if err != nil {
		return 0, fmt.Errorf("receive: %w", err)
	}
	if err := r.keep(oob[:oobn]); err != nil {
		return 0, err
	}
	if flags&unix.MSG_CTRUNC != 0 || len(r.fds) > LogPipes+Streams {
		return 0, fmt.Errorf("%w: too many descriptors", ErrFrame)
	}
	if n == 0 && len(p) > 0 {
		return 0, io.EOF
	}
	return n, nil
}

func (r *receiver) keep(oob []byte) error {
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return fmt.Errorf("parse control message: %w", err)
	}
	for _, m := range messages {
		fds, err := unix.ParseUnixRights(&m)
		if err != nil {
			return fmt.Errorf("parse descriptors: %w", err)
		}
		r.fds = append(r.fds, fds...)
	}
	return nil
}
