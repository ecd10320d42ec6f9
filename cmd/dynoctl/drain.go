package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/durationpb"

	dynodv1 "github.com/dynod/dynod/proto/dynod/v1"
)

func (c *ctl) drain() *cobra.Command {
	var grace time.Duration
	cmd := &cobra.Command{
		Use:   "drain",
		Short: "Refuse new starts on the host, stop its dynos and wait until they have ended",
		Args:  cobra.NoArgs,
	}
	cmd.RunE = c.withAgent(func(ctx context.Context, agent dynodv1.AgentServiceClient, _ []string) error {
		order := &dynodv1.DrainHostRequest{}
		if cmd.Flags().Changed("grace") {
			order.Grace = durationpb.New(grace)
		}
		stream, err := agent.DrainHost(ctx, order)
		if err != nil {
			return err
		}
		return c.followDrain(stream.Recv)
	})
	cmd.Flags().DurationVar(&grace, "grace", 0, "time between SIGTERM and SIGKILL (default: as each dyno's order says)")
	return cmd
}

// followDrain tells how far the drain is until the agent ends the stream: without an error no dyno is left.
func (c *ctl) followDrain(next func() (*dynodv1.DrainHostResponse, error)) error {
	for {
		progress, err := next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := c.writeDrain(progress); err != nil {
			return err
		}
	}
}

func (c *ctl) writeDrain(progress *dynodv1.DrainHostResponse) error {
	if c.json() {
		return c.writeJSONLine(progress)
	}
	_, err := fmt.Fprintf(c.out, "%d stopped, %d left\n", progress.GetStopped(), progress.GetRemaining())
	return err
}
