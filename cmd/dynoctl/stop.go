package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/durationpb"

	dynodv1 "github.com/dynod/dynod/proto/dynod/v1"
)

func (c *ctl) stop() *cobra.Command {
	var grace time.Duration
	var reason string
	var wait bool
	cmd := &cobra.Command{
		Use:               "stop DYNO...",
		Aliases:           []string{"ps:stop"},
		Short:             "Stop dynos",
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: c.completeDynos,
	}
	cmd.RunE = c.withAgent(func(ctx context.Context, agent dynodv1.AgentServiceClient, args []string) error {
		order := &dynodv1.StopDynoRequest{Reason: reason}
		if cmd.Flags().Changed("grace") {
			order.Grace = durationpb.New(grace)
		}
		dynos, err := stopAll(ctx, agent, order, args)
		if wait {
			dynos, err = awaitEnd(ctx, agent, dynos, err)
		}
		return errors.Join(c.writeStopped(dynos), err)
	})
	cmd.Flags().DurationVar(&grace, "grace", 0, "time between SIGTERM and SIGKILL (default: as the dyno's order says)")
	cmd.Flags().StringVar(&reason, "reason", "", `platform line to log first, such as "Cycling"`)
	cmd.Flags().BoolVar(&wait, "wait", false, "wait until they have ended")
	return cmd
}

// stopAll orders the end of each dyno that args name. One that cannot be stopped does not save the others.
func stopAll(
	ctx context.Context, agent dynodv1.AgentServiceClient, order *dynodv1.StopDynoRequest, args []string,
) ([]*dynodv1.Dyno, error) {
	answer, err := agent.ListDynos(ctx, &dynodv1.ListDynosRequest{})
	if err != nil {
		return nil, err
	}
	var stopped []*dynodv1.Dyno
	var errs []error
	for _, word := range args {
		dyno, err := pick(answer.GetDynos(), word)
		if err == nil {
			dyno, err = stopOne(ctx, agent, order, dyno)
		}
		if err != nil {
			errs = append(errs, err)
			continue
		}
		stopped = append(stopped, dyno)
	}
	return stopped, errors.Join(errs...)
}

// stopOne uses the generation that the agent knows: a person at the host means the dyno as it stands there.
func stopOne(
	ctx context.Context, agent dynodv1.AgentServiceClient, order *dynodv1.StopDynoRequest, dyno *dynodv1.Dyno,
) (*dynodv1.Dyno, error) {
	order.Header = &dynodv1.OrderHeader{DynoId: dyno.GetId(), Generation: dyno.GetGeneration()}
	answer, err := agent.StopDyno(ctx, order)
	if err != nil {
		return nil, err
	}
	if answer.GetDyno() == nil { // gone in the meantime
		return dyno, nil
	}
	return answer.GetDyno(), nil
}

// awaitEnd waits for dynos and puts their last state in place of the first.
func awaitEnd(
	ctx context.Context, agent dynodv1.AgentServiceClient, dynos []*dynodv1.Dyno, before error,
) ([]*dynodv1.Dyno, error) {
	ids := make([]string, len(dynos))
	for i, d := range dynos {
		ids[i] = d.GetId()
	}
	last, err := await(ctx, agent, ids, over)
	for i, d := range dynos {
		if last[d.GetId()] != nil {
			dynos[i] = last[d.GetId()]
		}
	}
	return dynos, errors.Join(before, err)
}

func (c *ctl) writeStopped(dynos []*dynodv1.Dyno) error {
	if c.json() {
		return c.writeJSON(&dynodv1.ListDynosResponse{Dynos: dynos})
	}
	for _, d := range dynos {
		if _, err := fmt.Fprintf(c.out, "%s %s/%s %s\n", d.GetId(), printable(d.GetApp()), printable(d.GetName()), phase(d)); err != nil {
			return err
		}
	}
	return nil
}
