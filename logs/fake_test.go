package logs_test

import (
	"net"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dynod/dynod/logs"
	"github.com/dynod/dynod/logs/capture"
)

// fake stands for a capture that reads nothing and answers as a test says.
type fake struct {
	answer func(capture.Message) (reply capture.Message, pipes []int)
	mu     sync.Mutex
	conn   *net.UnixConn // the newest
}

// newFake is a host with such a capture.
func newFake(t testing.TB, answer func(capture.Message) (capture.Message, []int)) (*fake, *host) {
	t.Helper()
	f := &fake{answer: answer}
	h := newHost(t, nil, func(c *logs.Config) {
		c.Capture = []string{"/bin/false"}
		l, err := net.ListenUnix("unixpacket", &net.UnixAddr{Name: c.Socket, Net: "unixpacket"})
		if err != nil {
			t.Fatal(err)
		}
		var served sync.WaitGroup
		served.Go(func() { f.listen(l) })
		t.Cleanup(func() { _ = l.Close(); f.hangUp(); served.Wait() })
	})
	return f, h
}

func (f *fake) listen(l *net.UnixListener) {
	for {
		conn, err := l.AcceptUnix()
		if err != nil {
			return
		}
		f.mu.Lock()
		f.conn = conn
		f.mu.Unlock()
		f.serve(conn)
	}
}

func (f *fake) serve(conn *net.UnixConn) {
	defer conn.Close()
	buf, oob := make([]byte, 64<<10), make([]byte, 1024)
	for {
		n, oobn, _, _, err := conn.ReadMsgUnix(buf, oob)
		messages, _ := unix.ParseSocketControlMessage(oob[:max(0, oobn)])
		for i := range messages {
			fds, _ := unix.ParseUnixRights(&messages[i])
			for _, fd := range fds {
				_ = unix.Close(fd)
			}
		}
		m, bad := capture.Parse(buf[:max(0, n)])
		if err != nil || bad != nil {
			return
		}
		reply, pipes := f.answer(m)
		reply.Kind, reply.Seq = capture.Reply, m.Seq
		if _, _, err := conn.WriteMsgUnix(reply.Append(nil), unix.UnixRights(pipes...), nil); err != nil {
			return
		}
	}
}

func (f *fake) hangUp() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.conn != nil {
		_ = f.conn.Close()
	}
}

// ended tells that a stream of a dyno is at its end.
func (f *fake) ended(t testing.TB, id string, s logs.Stream) {
	t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	m := capture.Message{Kind: capture.Changes, Entries: []capture.Entry{{ID: id, Stream: s}}}
	if _, err := f.conn.Write(m.Append(nil)); err != nil {
		t.Fatal(err)
	}
}

// newPipes are the descriptors of an answer to Open.
func newPipes(t testing.TB) []int {
	t.Helper()
	var fds []int
	for range 3 {
		var p [2]int
		if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
			t.Fatal(err)
		}
		fds = append(fds, p[:]...)
		t.Cleanup(func() { _, _ = unix.Close(p[0]), unix.Close(p[1]) })
	}
	return []int{fds[1], fds[3], fds[0], fds[2], fds[4], fds[5]}
}

// TestEndedBetweenListAndAttach: of a stream that capture lists and then has not, the end was told to nobody. It is given back,
// and seen to end.
func TestEndedBetweenListAndAttach(t *testing.T) {
	id, pipes, restored := newID(), newPipes(t), make(chan capture.Mask, 10)
	var opened bool
	f, h := newFake(t, func(m capture.Message) (reply capture.Message, with []int) {
		switch m.Kind {
		case capture.Open:
			opened = true
			return reply, pipes
		case capture.List:
			if opened && m.ID == "" {
				reply.Entries = []capture.Entry{{ID: id, Stream: logs.Stdout, Live: true}, {ID: id, Stream: logs.Stderr, Live: true}}
			}
		case capture.Attach:
			reply.Mask = reply.Mask.With(logs.Stderr)
			return reply, []int{pipes[3], pipes[5]}
		case capture.Restore:
			restored <- m.Mask
		}
		return reply, nil
	})
	h.open(id).Close()
	f.hangUp()
	select {
	case mask := <-restored:
		if mask.Has(logs.Stderr) || !mask.Has(logs.Stdout) {
			t.Errorf("restored: %b", mask)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("nobody asks for the stream")
	}
	if holds, err := h.Holds(h.ctx(), id); err != nil || !holds {
		t.Errorf("Holds: %v, %v", holds, err)
	}
	f.ended(t, id, logs.Stdout)
	f.ended(t, id, logs.Stderr)
	if err := h.Drained(h.ctx(), id); err != nil {
		t.Errorf("Drained: %v", err)
	}
}
