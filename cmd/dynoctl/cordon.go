package main

import (
	"context"

	"github.com/spf13/cobra"

	dynodv1 "github.com/dynod/dynod/proto/dynod/v1"
)

func (c *ctl) cordon() *cobra.Command {
	var reason string
	cmd := &cobra.Command{
		Use:   "cordon",
		Short: "Refuse new starts on the host; living dynos stay",
		Args:  cobra.NoArgs,
		RunE: c.withAgent(func(ctx context.Context, agent dynodv1.AgentServiceClient, _ []string) error {
			answer, err := agent.CordonHost(ctx, &dynodv1.CordonHostRequest{Reason: reason})
			if err != nil {
				return err
			}
			return c.writeHost(answer.GetHost())
		}),
	}
	cmd.Flags().StringVar(&reason, "reason", "", "why, for people")
	return cmd
}

func (c *ctl) uncordon() *cobra.Command {
	return &cobra.Command{
		Use:   "uncordon",
		Short: "Accept starts on the host again",
		Args:  cobra.NoArgs,
		RunE: c.withAgent(func(ctx context.Context, agent dynodv1.AgentServiceClient, _ []string) error {
			answer, err := agent.UncordonHost(ctx, &dynodv1.UncordonHostRequest{})
			if err != nil {
				return err
			}
			return c.writeHost(answer.GetHost())
		}),
	}
}
