package capture

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"
)

// ErrClosed says that a connection is over; a new one may answer. It is of the class errdefs.ErrUnavailable.
var ErrClosed = fmt.Errorf("connection to capture is closed: %w", errdefs.ErrUnavailable)

// Client is the agent's end of a connection to capture.
type Client struct {
	conn    *net.UnixConn
	writing chan struct{} // full while somebody writes
	mu      sync.Mutex
	seq     uint32
	open    map[uint32]*call
	err     error // why the connection ended
}

type call struct {
	settle func(Message, []int)
	done   chan error
}

// Dial connects to the capture that listens on socket. A socket that nobody listens on, or only a process that is dying,
// is errdefs.ErrUnavailable.
func Dial(ctx context.Context, socket string) (*Client, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, "unixpacket", socket)
	// The queue of a dying one, which takes nobody, is full at last.
	if errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.ENOENT) || errors.Is(err, syscall.EAGAIN) {
		return nil, fmt.Errorf("dial capture: %w", errors.Join(errdefs.ErrUnavailable, err))
	}
	if err != nil {
		return nil, fmt.Errorf("dial capture: %w", err)
	}
	c := &Client{conn: conn.(*net.UnixConn), writing: make(chan struct{}, 1), open: map[uint32]*call{}}
	if c.dead() {
		return nil, errors.Join(fmt.Errorf("dial capture: it is dying: %w", errdefs.ErrUnavailable), conn.Close())
	}
	return c, nil
}

// dead tells whether capture was killed, though a write that hangs keeps its end of the connection open.
func (c *Client) dead() bool {
	raw, err := c.conn.SyscallConn()
	if err != nil {
		return false
	}
	var peer *unix.Ucred
	_ = raw.Control(func(fd uintptr) { peer, _ = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) })
	return peer != nil && dying(int(peer.Pid))
}

// lookEvery is how often a client looks whether capture is dead.
const lookEvery = time.Second

// look closes the connection to a dead capture, until done.
func (c *Client) look(done <-chan struct{}) {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			if c.dead() {
				c.Close()
			}
		case <-done:
			return
		}
	}
}

// Do asks and waits for the answer, which settle gets if it is no refusal: on the goroutine of Serve, before any later
// message is looked at, so that what capture tells afterwards meets a caller who knows the answer. settle owns the
// descriptors, which come as plain numbers because a pipe's read end must stay out of Go's netpoller; it runs even if
// ctx has ended meanwhile. It may be nil. A lost connection is ErrClosed.
func (c *Client) Do(ctx context.Context, m Message, files []int, settle func(Message, []int)) error {
	reply, err := c.send(ctx, m, files, settle)
	if err != nil {
		return err
	}
	select {
	case err := <-reply:
		return err
	case <-ctx.Done():
		return fmt.Errorf("ask capture: %w", ctx.Err())
	}
}

func (c *Client) send(ctx context.Context, m Message, files []int, settle func(Message, []int)) (<-chan error, error) {
	var oob []byte
	if len(files) > 0 {
		oob = unix.UnixRights(files...)
	}
	reply := make(chan error, 1)
	seq, err := c.expect(&call{settle: settle, done: reply})
	if err != nil {
		return nil, err
	}
	m.Seq = seq
	if err := c.write(ctx, m.Append(nil), oob); err != nil {
		c.expected(seq)
		return nil, fmt.Errorf("ask capture: %w", err)
	}
	return reply, nil
}

// expect gives the number of the answer to a call.
func (c *Client) expect(asked *call) (uint32, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return 0, c.err
	}
	c.seq++
	c.open[c.seq] = asked
	return c.seq, nil
}

// expected gives the call that is answered by this number, once.
func (c *Client) expected(seq uint32) *call {
	c.mu.Lock()
	defer c.mu.Unlock()
	asked := c.open[seq]
	delete(c.open, seq)
	return asked
}

// write ends with ctx: a frozen capture takes nothing. A packet goes as a whole or not at all.
func (c *Client) write(ctx context.Context, b, oob []byte) error {
	select {
	case c.writing <- struct{}{}:
		defer func() { <-c.writing }()
	case <-ctx.Done():
		return ctx.Err()
	}
	late := make(chan struct{})
	inTime := context.AfterFunc(ctx, func() { defer close(late); _ = c.conn.SetWriteDeadline(time.Now()) })
	_, _, err := c.conn.WriteMsgUnix(b, oob, nil)
	if !inTime() {
		<-late
		_ = c.conn.SetWriteDeadline(time.Time{})
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return ctx.Err()
	}
	if err != nil {
		return errors.Join(ErrClosed, err)
	}
	return nil
}

// Serve receives until the connection ends or ctx does, and says why. changes gets what capture tells unasked, in
// order. It is called once.
func (c *Client) Serve(ctx context.Context, changes func([]Entry)) error {
	defer context.AfterFunc(ctx, c.Close)()
	done := make(chan struct{})
	defer close(done)
	go c.look(done)
	buf, oob := make([]byte, maxMessage+1), make([]byte, unix.CmsgSpace(4*maxFiles))
	for {
		n, oobn, _, _, err := c.conn.ReadMsgUnix(buf, oob)
		files := parseRights(oob[:max(0, oobn)])
		if err != nil || n == 0 {
			closeAll(files)
			return c.fail(err)
		}
		m, err := Parse(buf[:n])
		switch {
		case err != nil:
			closeAll(files)
			return c.fail(err)
		case m.Kind == Changes:
			closeAll(files)
			changes(m.Entries)
		default:
			c.answer(m, files)
		}
	}
}

func (c *Client) answer(m Message, fds []int) {
	asked := c.expected(m.Seq)
	if asked == nil || asked.settle == nil || m.Code != OK {
		closeAll(fds)
	} else {
		asked.settle(m, fds)
	}
	if asked != nil {
		asked.done <- m.err()
	}
}

func (c *Client) fail(err error) error {
	err = errors.Join(ErrClosed, err)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.err = err
	for seq, asked := range c.open {
		asked.done <- err
		delete(c.open, seq)
	}
	_ = c.conn.Close()
	return err
}

// Close ends the connection; Serve returns.
func (c *Client) Close() { _ = c.conn.Close() }
