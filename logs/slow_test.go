package logs_test

import (
	"context"
	"net"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A host without CPU to spare answers late, once for each dyno: an agent that comes back gets through all the same.
func TestManyDynosAndASlowCapture(t *testing.T) {
	const dynos, late = 8, 1500 * time.Millisecond // together longer than one question may take
	h := newHost(t, newReceiver(t), nil)
	var ids []string
	for range dynos {
		id := newID()
		h.open(id)
		ids = append(ids, id)
	}
	h.end()
	captured := h.cfg.Socket
	h.cfg.Socket = filepath.Join(t.TempDir(), "slow.sock")
	slowly(t, h.cfg.Socket, captured, late)
	h.begin()
	ctx, cancel := context.WithTimeout(h.ctx(), time.Minute)
	defer cancel()
	for _, id := range ids {
		if held, err := h.Holds(ctx, id); !held {
			t.Errorf("the pipes of %s are not held again: %v", id, err)
		}
	}
	h.cfg.Socket = captured // for the end
}

// slowly passes on what comes to a socket, each packet late, and the answers at once.
func slowly(t *testing.T, from, to string, late time.Duration) {
	l, err := net.ListenUnix("unixpacket", &net.UnixAddr{Name: from, Net: "unixpacket"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			asks, err := l.AcceptUnix()
			if err != nil {
				return
			}
			answers, err := net.DialUnix("unixpacket", nil, &net.UnixAddr{Name: to, Net: "unixpacket"})
			if err != nil {
				_ = asks.Close()
				return
			}
			go pass(asks, answers, late)
			go pass(answers, asks, 0)
		}
	}()
}

func pass(from, to *net.UnixConn, late time.Duration) {
	defer from.Close()
	defer to.Close()
	packet, rights := make([]byte, 1<<20), make([]byte, 1<<10)
	for {
		n, m, _, _, err := from.ReadMsgUnix(packet, rights)
		if err != nil || n == 0 {
			return
		}
		time.Sleep(late)
		_, _, err = to.WriteMsgUnix(packet[:n], rights[:m], nil)
		if messages, wrong := unix.ParseSocketControlMessage(rights[:m]); wrong == nil {
			for _, message := range messages {
				files, _ := unix.ParseUnixRights(&message)
				for _, fd := range files {
					_ = unix.Close(fd)
				}
			}
		}
		if err != nil {
			return
		}
	}
}
