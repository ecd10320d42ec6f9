package main_test

import (
	"net"
	"testing"
	"time"

	main "github.com/dynod/dynod/cmd/dynod"
)

// TestConnectionsWait opens one more connection than there may be: it is taken when another ends.
func TestConnectionsWait(t *testing.T) {
	const most = 512
	lis, err := main.ListenRemote("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	taken := make(chan net.Conn)
	go func() {
		defer close(taken)
		for {
			conn, err := lis.Accept()
			if err != nil {
				return
			}
			taken <- conn
		}
	}()
	var open []net.Conn
	defer func() {
		_ = lis.Close()
		for _, conn := range open {
			_ = conn.Close()
		}
	}()
	for range most + 1 {
		conn, err := net.Dial("tcp", lis.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		open = append(open, conn)
	}
	for range most {
		open = append(open, <-taken)
	}
	select {
	case conn := <-taken:
		_ = conn.Close()
		t.Fatalf("more than %d are open", most)
	case <-time.After(100 * time.Millisecond):
	}
	_ = open[len(open)-1].Close()
	select {
	case conn := <-taken:
		open = append(open, conn)
	case <-time.After(10 * time.Second):
		t.Error("none is taken after another has ended")
	}
}
