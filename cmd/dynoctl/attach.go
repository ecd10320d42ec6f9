package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	dynodv1 "github.com/dynod/dynod/proto/dynod/v1"
)

const attachLong = `Attach becomes the client of a one-off dyno that was ordered with attach, whose
command starts then. It waits until the dyno is ready. A dyno has one client in
its life; when dynoctl is killed, the dyno gets SIGHUP.` + codeLong

func (c *ctl) attach() *cobra.Command {
	var f ttyFlags
	cmd := &cobra.Command{
		Use:               "attach DYNO",
		Short:             "Attach to a one-off dyno that awaits its client",
		Long:              attachLong,
		Annotations:       codeOfCommand,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: c.completeDynos,
		RunE: c.withAgent(func(ctx context.Context, agent dynodv1.AgentServiceClient, args []string) error {
			dyno, err := resolve(ctx, agent, args[0])
			if err != nil {
				return err
			}
			return c.attachTo(ctx, agent, dyno.GetId(), c.tty(f))
		}),
	}
	f.add(cmd)
	return cmd
}

// attachTo is the client of a dyno to the end of its command.
func (c *ctl) attachTo(ctx context.Context, agent dynodv1.AgentServiceClient, id string, tty bool) error {
	ctx, settled, hangUp := detached(ctx)
	defer hangUp()
	stream, err := agent.AttachDyno(ctx)
	if err != nil {
		return err
	}
	_ = stream.Send(&dynodv1.AttachDynoRequest{Message: &dynodv1.AttachDynoRequest_DynoId{DynoId: id}}) // Recv says why not
	if _, err := stream.Recv(); err != nil {
		return why(ctx, agent, id, err)
	}
	settled()
	c.sendSize(tty, stream.Send) // it may have changed since the order
	return c.converse(session{
		send: stream.Send,
		recv: func() (heard, error) {
			m, err := stream.Recv()
			return heard{out: m.GetOutput(), exit: m.GetExit()}, err
		},
	}, tty, hangUp)
}

// why adds to an error what the agent says of the dyno's end.
func why(ctx context.Context, agent dynodv1.AgentServiceClient, id string, err error) error {
	answer, failed := agent.GetDyno(ctx, &dynodv1.GetDynoRequest{DynoId: id})
	if d := answer.GetDyno(); failed == nil && over(d) {
		return errors.Join(fmt.Errorf("%s/%s is %s, exit %s", d.GetApp(), d.GetName(), phase(d), exit(d.GetExit())), reasonOf(d))
	}
	return err
}

func reasonOf(d *dynodv1.Dyno) error {
	if d.GetReason() == "" {
		return nil
	}
	return errors.New(d.GetReason())
}
