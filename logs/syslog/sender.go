package syslog

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// probeTime is how long a connection must live after its peer's kernel has taken the last byte of a batch.
	probeTime = 20 * time.Millisecond
	// glance is how long a connection is looked at before more is written.
	glance = time.Millisecond
	// pollEvery is the pause between two looks at how much that kernel has not taken.
	pollEvery = 2 * time.Millisecond
	// defaultPort is that of syslog over TLS.
	defaultPort = "6514"
)

// Sender carries frames to one receiver over a connection of its own, made anew when it breaks. It is used by one
// goroutine.
//
// The protocol has no acknowledgement. A batch counts as delivered when the peer's kernel has taken all of it and the
// connection has shown neither an end nor a reset for probeTime afterwards. When a connection breaks before that, the
// batch is sent again, and some of it may come twice. What a receiver has taken but not yet read when it dies is lost.
type Sender struct {
	dialer  Dialer
	address string
	name    string // in the server's certificate
	conn    *tls.Conn
	tcp     *net.TCPConn
}

// NewSender takes a syslog+tls URL. Nothing is connected yet.
func NewSender(d Dialer, u *url.URL) *Sender {
	port := u.Port()
	if port == "" {
		port = defaultPort
	}
	return &Sender{dialer: d, address: net.JoinHostPort(u.Hostname(), port), name: u.Hostname()}
}

// Send writes frames and returns when they count as delivered. After an error nothing of them does.
func (s *Sender) Send(ctx context.Context, frames []byte) error {
	err := s.send(ctx, frames)
	if err != nil && s.conn != nil {
		_ = s.tcp.Close() // without a farewell, which could wait
		s.conn = nil
	}
	return err
}

func (s *Sender) send(ctx context.Context, frames []byte) error {
	if err := s.connect(ctx); err != nil {
		return fmt.Errorf("connect to %s: %w", s.address, err)
	}
	defer context.AfterFunc(ctx, func() { _ = s.tcp.SetDeadline(time.Unix(1, 0)) })()
	if _, err := s.conn.Write(frames); err != nil {
		return fmt.Errorf("write to %s: %w", s.address, err)
	}
	if err := s.taken(ctx); err != nil {
		return fmt.Errorf("wait for %s: %w", s.address, err)
	}
	return s.alive(ctx, probeTime)
}

func (s *Sender) connect(ctx context.Context) error {
	if s.conn != nil {
		// What broke while nothing was sent is found before anything is written.
		if s.alive(ctx, glance) == nil {
			return nil
		}
		s.Close()
	}
	raw, err := s.dialer.TCP().DialContext(ctx, "tcp", s.address)
	if err != nil {
		return err
	}
	conn := tls.Client(raw, s.dialer.TLS(s.name))
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	if err := conn.HandshakeContext(ctx); err != nil {
		_ = raw.Close()
		return err
	}
	s.conn, s.tcp = conn, raw.(*net.TCPConn)
	return nil
}

// taken returns when the peer's kernel has acknowledged every byte.
func (s *Sender) taken(ctx context.Context) error {
	raw, err := s.tcp.SyscallConn()
	if err != nil {
		return err
	}
	for {
		var left int
		var asked error
		err := raw.Control(func(fd uintptr) { left, asked = unix.IoctlGetInt(int(fd), unix.SIOCOUTQ) })
		if err = errors.Join(err, asked); err != nil || left == 0 {
			return err
		}
		if err := s.alive(ctx, pollEvery); err != nil {
			return err
		}
	}
}

// alive fails if the peer ends the connection within a time. A receiver has nothing to say: bytes are skipped.
func (s *Sender) alive(ctx context.Context, within time.Duration) error {
	if err := s.conn.SetReadDeadline(time.Now().Add(within)); err != nil {
		return err
	}
	var word [64]byte
	for {
		if _, err := s.conn.Read(word[:]); errors.Is(err, os.ErrDeadlineExceeded) {
			return ctx.Err()
		} else if err != nil {
			return fmt.Errorf("%s ended the connection: %w", s.address, err)
		}
	}
}

// Close ends the connection, if there is one.
func (s *Sender) Close() {
	if s.conn != nil {
		_ = s.conn.Close()
	}
	s.conn = nil
}
