package main

import (
	"context"
	"io"

	"github.com/spf13/cobra"

	dynodv1 "github.com/dynod/dynod/proto/dynod/v1"
)

func (c *ctl) metrics() *cobra.Command {
	return &cobra.Command{
		Use:   "metrics",
		Short: "Print the agent's metrics as Prometheus reads them",
		Args:  cobra.NoArgs,
		RunE: c.withAgent(func(ctx context.Context, agent dynodv1.AgentServiceClient, _ []string) error {
			answer, err := agent.GetMetrics(ctx, &dynodv1.GetMetricsRequest{})
			if err != nil {
				return err
			}
			if c.json() {
				return c.writeJSON(answer)
			}
			_, err = io.WriteString(c.out, answer.GetText())
			return err
		}),
	}
}
