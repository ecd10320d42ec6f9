package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	dynodv1 "github.com/dynod/dynod/proto/dynod/v1"
)

// codeOfCommand marks commands that leave with the code of a command in a dyno.
var codeOfCommand = map[string]string{"exit code": "of the command in the dyno"}

const codeLong = `

dynoctl leaves with the command's status: its code, or 128 + signal. Where
dynoctl itself fails, wrong usage included, it leaves with 125.`

const execLong = `Exec runs one more command in a running dyno, with the dyno's environment,
directory and limits; without a command, a shell. Flags of dynoctl come before
DYNO. The agent's log tells who ran what.

Where standard input and output are a terminal, the command gets one. Without
a terminal its standard error is apart, and SIGINT, SIGTERM, SIGHUP and SIGQUIT
that dynoctl gets are passed on. When dynoctl is killed, the command gets SIGHUP.` + codeLong

func (c *ctl) exec() *cobra.Command {
	var f ttyFlags
	cmd := &cobra.Command{
		Use:               "exec DYNO [--] [COMMAND...]",
		Aliases:           []string{"ps:exec"},
		Short:             "Run one more command in a running dyno",
		Long:              execLong,
		Annotations:       codeOfCommand,
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: c.completeFirst,
		RunE: c.withAgent(func(ctx context.Context, agent dynodv1.AgentServiceClient, args []string) error {
			dyno, err := resolve(ctx, agent, args[0])
			if err != nil {
				return err
			}
			tty := c.tty(f)
			start := &dynodv1.ExecStart{DynoId: dyno.GetId(), Command: commandWords(args[1:]), Terminal: tty}
			if tty {
				start.Size = c.size()
			}
			return c.execute(ctx, agent, start)
		}),
	}
	cmd.Flags().SetInterspersed(false)
	f.add(cmd)
	return cmd
}

// commandWords is a command as typed, with or without "--" before it.
func commandWords(args []string) []string {
	if len(args) > 0 && args[0] == "--" {
		return args[1:]
	}
	return args
}

func (c *ctl) execute(ctx context.Context, agent dynodv1.AgentServiceClient, start *dynodv1.ExecStart) error {
	ctx, settled, hangUp := detached(ctx)
	defer hangUp()
	stream, err := agent.ExecDyno(ctx)
	if err != nil {
		return err
	}
	if err := stream.Send(&dynodv1.ExecDynoRequest{Message: &dynodv1.ExecDynoRequest_Start{Start: start}}); err != nil {
		_, err = stream.Recv() // Send says EOF, Recv says why
		return err
	}
	settled()
	return c.converse(session{
		send: func(m *dynodv1.AttachDynoRequest) error { return stream.Send(toExec(m)) },
		recv: func() (heard, error) {
			m, err := stream.Recv()
			return heard{m.GetStdout(), m.GetStderr(), m.GetExit()}, err
		},
	}, start.GetTerminal(), hangUp)
}

// toExec is a message to an attached dyno as one to an exec'd command.
func toExec(m *dynodv1.AttachDynoRequest) *dynodv1.ExecDynoRequest {
	switch m := m.GetMessage().(type) {
	case *dynodv1.AttachDynoRequest_Stdin:
		return &dynodv1.ExecDynoRequest{Message: &dynodv1.ExecDynoRequest_Stdin{Stdin: m.Stdin}}
	case *dynodv1.AttachDynoRequest_Resize:
		return &dynodv1.ExecDynoRequest{Message: &dynodv1.ExecDynoRequest_Resize{Resize: m.Resize}}
	case *dynodv1.AttachDynoRequest_StdinEnd:
		return &dynodv1.ExecDynoRequest{Message: &dynodv1.ExecDynoRequest_StdinEnd{StdinEnd: m.StdinEnd}}
	case *dynodv1.AttachDynoRequest_Signal:
		return &dynodv1.ExecDynoRequest{Message: &dynodv1.ExecDynoRequest_Signal{Signal: m.Signal}}
	default:
		panic(fmt.Sprintf("no such message in an exec session: %T", m))
	}
}
