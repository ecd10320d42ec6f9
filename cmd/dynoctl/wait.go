package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	dynodv1 "github.com/dynod/dynod/proto/dynod/v1"
)

func (c *ctl) wait() *cobra.Command {
	return &cobra.Command{
		Use:   "wait DYNO...",
		Short: "Wait until dynos have ended",
		Long: `Wait returns when every DYNO has ended, for good: a crashed dyno that its crash
policy starts again has not. For one DYNO, dynoctl leaves with its status. Where
dynoctl itself fails, or the status is lost, it leaves with 125.`,
		Annotations:       codeOfCommand,
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: c.completeDynos,
		RunE: c.withAgent(func(ctx context.Context, agent dynodv1.AgentServiceClient, args []string) error {
			dynos, err := resolveAll(ctx, agent, args)
			if err != nil {
				return err
			}
			dynos, err = awaitEnd(ctx, agent, dynos, nil)
			if err := errors.Join(c.writeStopped(dynos), err); err != nil || len(dynos) > 1 {
				return err
			}
			return endOf(dynos[0])
		}),
	}
}

// resolveAll finds the dynos that a user means by words.
func resolveAll(ctx context.Context, agent dynodv1.AgentServiceClient, words []string) ([]*dynodv1.Dyno, error) {
	answer, err := agent.ListDynos(ctx, &dynodv1.ListDynosRequest{})
	if err != nil {
		return nil, err
	}
	var dynos []*dynodv1.Dyno
	for _, word := range words {
		dyno, err := pick(answer.GetDynos(), word)
		if err != nil {
			return nil, err
		}
		dynos = append(dynos, dyno)
	}
	return dynos, nil
}

// statusOfEnd waits for a dyno's end, and is its status.
func (c *ctl) statusOfEnd(ctx context.Context, agent dynodv1.AgentServiceClient, dyno *dynodv1.Dyno) error {
	dynos, err := awaitEnd(ctx, agent, []*dynodv1.Dyno{dyno}, nil)
	if err != nil {
		return err
	}
	return endOf(dynos[0])
}

// endOf is the status of a dyno that has ended.
func endOf(d *dynodv1.Dyno) error {
	switch {
	case !over(d):
		return fmt.Errorf("dyno %s: the agent has forgotten it", d.GetId())
	case d.GetExit() == nil:
		return fmt.Errorf("%s/%s was stopped before its command ran", d.GetApp(), d.GetName())
	}
	return statusError(d.GetExit())
}
