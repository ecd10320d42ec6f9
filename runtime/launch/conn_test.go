package launch_test

import (
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dynod/dynod/runtime/launch"
)

const soon = 10 * time.Second

// pair is a connection as both ends have it: the agent's of package net, init's of a bare descriptor. A raw one of the
// agent's is for what a Conn does not send.
func pair(t *testing.T) (agent, init *launch.Conn, raw int) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	must(t, err)
	file := os.NewFile(uintptr(fds[0]), "agent")
	conn, err := net.FileConn(file)
	must(t, err)
	agent, init = launch.NewConn(conn.(*net.UnixConn)), launch.NewConn(os.NewFile(uintptr(fds[1]), "init"))
	t.Cleanup(func() {
		_ = file.Close()
		agent.Close()
		init.Close()
	})
	return agent, init, fds[0]
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestDescriptorsComeWithTheirFrame(t *testing.T) {
	agent, init, _ := pair(t)
	r, w, err := os.Pipe()
	must(t, err)
	defer r.Close()
	big := make([]byte, launch.MaxPlan)
	sent := make(chan error, 1)
	go func() {
		fd := int(w.Fd())
		sent <- errors.Join(
			agent.Send(soon, launch.Ack, nil),
			agent.Send(soon, launch.Exec, big, fd, fd),
			agent.Send(soon, launch.Signal, []byte{15}, fd),
			w.Close(),
		)
	}()
	for _, want := range []struct {
		kind        launch.Kind
		bytes, many int
	}{{launch.Ack, 0, 0}, {launch.Exec, launch.MaxPlan, 2}, {launch.Signal, 1, 1}} {
		m, err := init.Receive(soon)
		must(t, err)
		if _, err := m.Take(want.many + 1); !errors.Is(err, launch.ErrFrame) {
			t.Errorf("%q: took one more than came: %v", byte(m.Kind), err)
		}
		fds, err := m.Take(want.many)
		if err != nil || m.Kind != want.kind || len(m.Payload) != want.bytes {
			t.Errorf("%q of %d bytes, %v", byte(m.Kind), len(m.Payload), err)
		}
		for _, fd := range fds {
			if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err != nil || flags&unix.FD_CLOEXEC == 0 {
				t.Errorf("%q: descriptor with flags %d, %v", byte(m.Kind), flags, err)
			}
			must(t, unix.Close(fd))
		}
	}
	must(t, <-sent)
	if n, err := r.Read(make([]byte, 1)); n != 0 || err != io.EOF {
		t.Errorf("a copy of a descriptor is left: %d, %v", n, err)
	}
}

// TestDescriptorsThatNobodyTakesAreClosed: with a good frame, with a bad one, and more than there may be.
func TestDescriptorsThatNobodyTakesAreClosed(t *testing.T) {
	for name, c := range map[string]struct {
		frame []byte
		many  int
		want  error
	}{
		"dropped":  {launch.Frame(launch.Ack, nil), 1, nil},
		"bad":      {launch.Frame('?', nil), 3, launch.ErrFrame},
		"too many": {launch.Frame(launch.Ack, nil), launch.LogPipes + launch.Streams + 1, launch.ErrFrame},
		"a flood":  {launch.Frame(launch.Ack, nil), 200, launch.ErrFrame},
	} {
		_, init, raw := pair(t)
		r, w, err := os.Pipe()
		must(t, err)
		fds := make([]int, c.many)
		for i := range fds {
			fds[i] = int(w.Fd())
		}
		must(t, unix.Sendmsg(raw, c.frame, unix.UnixRights(fds...), nil, 0))
		must(t, w.Close())
		m, err := init.Receive(soon)
		if !errors.Is(err, c.want) {
			t.Errorf("%s: %v", name, err)
		}
		if m != nil {
			m.Drop()
		}
		must(t, r.SetReadDeadline(time.Now().Add(soon)))
		if n, err := r.Read(make([]byte, 1)); n != 0 || err != io.EOF {
			t.Errorf("%s: a descriptor is left: %d, %v", name, n, err)
		}
		must(t, r.Close())
	}
}

func TestConnectionsEnd(t *testing.T) {
	agent, init, _ := pair(t)
	for name, c := range map[string]*launch.Conn{"agent": agent, "init": init} {
		if _, err := c.Receive(time.Millisecond); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%s: nothing came, and was %v", name, err)
		}
	}
	heard := make(chan error, 1)
	go func() {
		_, err := init.Receive(0)
		heard <- err
	}()
	init.Close() // by another goroutine than the one that waits
	if err := <-heard; err == nil {
		t.Error("received from a closed connection")
	}
	if _, err := agent.Receive(soon); !errors.Is(err, io.EOF) {
		t.Errorf("the other end is gone: %v", err)
	}
	if err := agent.Send(soon, launch.Ack, nil); !errors.Is(err, unix.EPIPE) {
		t.Errorf("sent to nobody: %v", err)
	}
}

func TestReasonsAreCut(t *testing.T) {
	agent, init, _ := pair(t)
	must(t, init.Say(soon, launch.Failed, string(make([]byte, launch.MaxState+1)), -1))
	if m, err := agent.Receive(soon); err != nil || len(m.Payload) != launch.MaxState {
		t.Errorf("got %+v, %v", m, err)
	}
}

func TestNobodyListens(t *testing.T) {
	if _, err := launch.Dial(t.TempDir() + "/no.sock"); !errors.Is(err, unix.ENOENT) {
		t.Errorf("got %v", err)
	}
}
