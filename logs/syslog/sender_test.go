package syslog_test

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/dynod/dynod/logs/syslog"
)

func sender(t *testing.T, d syslog.Dialer, raw string) *syslog.Sender {
	t.Helper()
	u, err := url.Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	s := syslog.NewSender(d, u)
	t.Cleanup(s.Close)
	return s
}

func limited(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// A batch on a connection that ends before it is proved counts as not delivered, and goes over a new one.
func TestSendAgainAfterABreak(t *testing.T) {
	cert, key := authority(t)
	l, address := listen(t, cert, key)
	s := sender(t, dialer(t, cert), address)
	got := make(chan []byte, 2)
	go func() {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		_, _ = io.ReadFull(conn, make([]byte, 100)) // and not the rest
		_ = conn.Close()
		if conn, err = l.Accept(); err != nil {
			return
		}
		defer conn.Close()
		for range 2 {
			text := make([]byte, 1<<20)
			_, _ = io.ReadFull(conn, text)
			got <- text
		}
		<-t.Context().Done()
	}()
	frames := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
	if err := s.Send(limited(t), frames); err == nil {
		t.Error("delivered over a connection that the peer had ended")
	}
	for range 2 {
		if err := s.Send(limited(t), frames); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(<-got, frames) {
			t.Error("other bytes arrived")
		}
	}
}

// A few bytes that the peer's kernel has taken are not delivered if the peer ends the connection at once.
func TestAnEndAfterwardsCounts(t *testing.T) {
	cert, key := authority(t)
	l, address := listen(t, cert, key)
	go func() {
		for range 2 {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = conn.Read(make([]byte, 1))
			time.Sleep(5 * time.Millisecond) // its kernel has said by then that it has them
			_ = conn.Close()
		}
	}()
	s := sender(t, dialer(t, cert), address)
	for range 2 {
		if err := s.Send(limited(t), []byte("a few bytes")); err == nil {
			t.Error("delivered")
		}
	}
}

// A peer that takes the connection and reads nothing holds a batch that its kernel does not take, until ctx ends.
func TestSendToOneWhoDoesNotRead(t *testing.T) {
	cert, key := authority(t)
	l, address := listen(t, cert, key)
	go func() {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		_, _ = conn.Read(make([]byte, 1))
		<-t.Context().Done()
		_ = conn.Close()
	}()
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	begun := time.Now()
	if err := sender(t, dialer(t, cert), address).Send(ctx, make([]byte, 64<<20)); err == nil || time.Since(begun) > 5*time.Second {
		t.Errorf("%v after %s", err, time.Since(begun))
	}
}

func TestWhomNotToTrust(t *testing.T) {
	cert, key := authority(t)
	l, address := listen(t, cert, key)
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = conn.Read(make([]byte, 1))
			_ = conn.Close()
		}
	}()
	other, _ := authority(t)
	for name, test := range map[string]struct {
		ca, url, want string
	}{
		"unknown authority": {other, address, "certificate"},
		"system's alone":    {"", address, "certificate"},
		"another name":      {cert, strings.Replace(address, "localhost", "127.0.0.1", 1), "certificate"},
		"link-local":        {cert, "syslog+tls://169.254.169.254", "no address for log receivers"},
		"link-local, IPv6":  {cert, "syslog+tls://[::ffff:169.254.169.254]:80", "no address for log receivers"},
		"metadata, IPv6":    {cert, "syslog+tls://[fd00:ec2::254]:443", "no address for log receivers"},
		"unspecified":       {cert, "syslog+tls://0.0.0.0:80", "no address for log receivers"},
	} {
		err := sender(t, dialer(t, test.ca), test.url).Send(limited(t), []byte("x"))
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, ca := range []string{key, "/nonexistent"} {
		if _, err := syslog.NewDialer(ca); err == nil {
			t.Errorf("%s taken for authorities", ca)
		}
	}
}

func TestDefaultPort(t *testing.T) {
	err := sender(t, syslog.Dialer{}, "syslog+tls://127.0.0.2").Send(limited(t), nil)
	if err == nil || !strings.Contains(err.Error(), net.JoinHostPort("127.0.0.2", "6514")) {
		t.Error(err)
	}
}
