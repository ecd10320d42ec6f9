package host

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"
)

// connect tries until the host answers on its port 22, which qemu takes on a port of the loopback interface, is off, or ctx ends.
func (h *Host) connect(ctx context.Context) (*ssh.Client, error) {
	login, err := h.Image.login()
	if err != nil {
		return nil, err
	}
	address := fmt.Sprintf("127.0.0.1:%d", h.port)
	for {
		client, err := handshake(ctx, address, login)
		if err == nil {
			return client, nil
		}
		select {
		case <-time.After(pause):
		case <-h.gone:
			return nil, fmt.Errorf("the host went off: %w", err)
		case <-ctx.Done():
			return nil, errors.Join(ctx.Err(), err)
		}
	}
}

// handshake has a time of its own: qemu takes a connection that nobody answers yet.
func handshake(ctx context.Context, address string, login *ssh.ClientConfig) (*ssh.Client, error) {
	const limit = time.Minute
	dialer := net.Dialer{Timeout: limit}
	conn, err := dialer.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	_ = conn.SetDeadline(time.Now().Add(limit)) // a TCP connection has deadlines
	c, channels, requests, err := ssh.NewClientConn(conn, address, login)
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	_ = conn.SetDeadline(time.Time{})
	return ssh.NewClient(c, channels, requests), nil
}

func (h *Host) current() (*ssh.Client, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.link == nil {
		return nil, fmt.Errorf("host %s is off", h.Name)
	}
	return h.link, nil
}

// Result is what a command left.
type Result struct {
	Out, Err string
	Code     int // 128 and more: it was killed
}

// Try runs a shell command as root to its end, whatever that is. An error means that there is no answer; the command may run on.
func (h *Host) Try(ctx context.Context, command string) (Result, error) {
	return h.feed(ctx, command, nil)
}

func (h *Host) feed(ctx context.Context, command string, stdin []byte) (Result, error) {
	client, err := h.current()
	if err != nil {
		return Result{}, err
	}
	type answer struct {
		Result
		err error
	}
	ended := make(chan answer, 1)
	go func() {
		r, err := execute(client, command, stdin)
		ended <- answer{r, err}
	}()
	select {
	case a := <-ended:
		err = a.err
		if err == nil {
			return a.Result, nil
		}
	case <-ctx.Done():
		err = ctx.Err()
	}
	return Result{}, fmt.Errorf("run %q: %w", command, err)
}

func execute(client *ssh.Client, command string, stdin []byte) (r Result, err error) {
	session, err := client.NewSession()
	if err != nil {
		return r, err
	}
	defer session.Close()
	var out, bad bytes.Buffer
	session.Stdin, session.Stdout, session.Stderr = bytes.NewReader(stdin), &out, &bad
	err = session.Run(command)
	r = Result{Out: out.String(), Err: bad.String()}
	var exit *ssh.ExitError
	if errors.As(err, &exit) {
		r.Code, err = exit.ExitStatus(), nil
	}
	return r, err
}

// Run runs a shell command as root and gives its standard output. An exit code other than 0 is an error.
func (h *Host) Run(ctx context.Context, command string) (string, error) {
	return h.fed(ctx, command, nil)
}

func (h *Host) fed(ctx context.Context, command string, stdin []byte) (string, error) {
	r, err := h.feed(ctx, command, stdin)
	if err == nil && r.Code != 0 {
		err = fmt.Errorf("run %q: exit code %d: %s", command, r.Code, strings.TrimSpace(r.Out+r.Err))
	}
	return r.Out, err
}

// Write puts a file there, with every directory on the way.
func (h *Host) Write(ctx context.Context, path string, data []byte, mode fs.FileMode) error {
	_, err := h.fed(ctx, fmt.Sprintf("install -D -m %#o /dev/stdin '%s'", mode.Perm(), path), data)
	return err
}

// Dial connects to a socket of the host: "tcp" or "unix".
func (h *Host) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	l, err := h.current()
	if err != nil {
		return nil, err
	}
	return l.DialContext(ctx, network, address)
}
