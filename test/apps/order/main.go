// Command order is a control plane of one order: it connects to the agent of its host, takes the order of the file that is its
// argument, and prints the machine's monotonic clock in seconds as it was when the order was sent.
package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/dynod/dynod/agent/rpc/transport"
	dynodv1 "github.com/dynod/dynod/proto/dynod/v1"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "order:", err)
		os.Exit(1)
	}
}

func run() error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	data, err := os.ReadFile(os.Args[1])
	if err != nil {
		return err
	}
	var order dynodv1.StartDynoRequest
	if err := protojson.Unmarshal(data, &order); err != nil {
		return err
	}
	conn, err := transport.Dial("unix:///run/dynod/dynod.sock", transport.DialOptions{UserAgent: "order"})
	if err != nil {
		return err
	}
	defer conn.Close()
	agent := dynodv1.NewAgentServiceClient(conn)
	if _, err := agent.GetHost(ctx, &dynodv1.GetHostRequest{}); err != nil { // connects
		return err
	}
	var sent unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &sent); err != nil {
		return err
	}
	if _, err := agent.StartDyno(ctx, &order); err != nil {
		return err
	}
	fmt.Printf("%d.%09d\n", sent.Sec, sent.Nsec)
	return nil
}
