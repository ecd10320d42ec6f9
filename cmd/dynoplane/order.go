package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/dynod/dynod/agent/rpc/transport"
	"github.com/dynod/dynod/cmd/dynoctl/orderfile"
	dynodv1 "github.com/dynod/dynod/proto/dynod/v1"
)

// orderFlags are the flags of all orders: which agent, and as whom.
type orderFlags struct {
	agent      string
	files      transport.TLSFiles
	serverName string
	timeout    time.Duration
}

func orderCommand() *cobra.Command {
	f := &orderFlags{}
	cmd := &cobra.Command{
		Use:   "order",
		Short: "Send an order or a question to an agent",
		Long:  "Order sends one call to an agent, over mutual TLS, and prints the answer as JSON.",
	}
	flags := cmd.PersistentFlags()
	flags.StringVar(&f.agent, "agent", "", "HOST:PORT of the agent, or unix:///PATH without TLS")
	flags.StringVar(&f.files.Cert, "cert", "", "client certificate file")
	flags.StringVar(&f.files.Key, "key", "", "key file of that certificate")
	flags.StringVar(&f.files.CA, "ca", "", "file with the CA of the agent's certificate")
	flags.StringVar(&f.serverName, "server-name", "", "name in the agent's certificate (default: the host of --agent)")
	flags.DurationVar(&f.timeout, "timeout", 10*time.Second, "longest wait for the answer")
	_ = cmd.MarkPersistentFlagRequired("agent") // fails only for a flag that does not exist
	cmd.AddCommand(f.start(), f.stop(), f.get(), f.list())
	return cmd
}

// question is one call to the agent.
type question func(ctx context.Context, agent dynodv1.AgentServiceClient, args []string) (proto.Message, error)

// ask makes q the RunE of a command.
func (f *orderFlags) ask(q question) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		options := transport.DialOptions{UserAgent: "dynoplane/" + version}
		if !strings.HasPrefix(f.agent, "unix:") {
			var err error
			if options.TLS, err = transport.ClientTLS(f.files, cmp.Or(f.serverName, f.agent)); err != nil {
				return err
			}
		}
		conn, err := transport.Dial(f.agent, options)
		if err != nil {
			return err
		}
		defer conn.Close()
		ctx, cancel := context.WithTimeout(cmd.Context(), f.timeout)
		defer cancel()
		answer, err := q(ctx, dynodv1.NewAgentServiceClient(conn), args)
		if err != nil {
			return err
		}
		return printMessage(cmd.OutOrStdout(), answer)
	}
}

func printMessage(w io.Writer, m proto.Message) error {
	text, err := indented(m)
	if err != nil {
		return fmt.Errorf("print answer: %w", err)
	}
	_, err = w.Write(text)
	return err
}

func (f *orderFlags) start() *cobra.Command {
	var file string
	cmd := &cobra.Command{
		Use:   "start --file FILE",
		Short: "Start a dyno from an order file (StartDynoRequest as YAML or JSON)",
		Args:  cobra.NoArgs,
		RunE: f.ask(func(ctx context.Context, agent dynodv1.AgentServiceClient, _ []string) (proto.Message, error) {
			data, err := os.ReadFile(file)
			if err != nil {
				return nil, fmt.Errorf("read order: %w", err)
			}
			order, err := orderfile.Parse(data)
			if err != nil {
				return nil, err
			}
			return agent.StartDyno(ctx, order)
		}),
	}
	cmd.Flags().StringVarP(&file, "file", "f", "", "the order")
	_ = cmd.MarkFlagRequired("file")
	return cmd
}

func (f *orderFlags) stop() *cobra.Command {
	order := &dynodv1.StopDynoRequest{Header: &dynodv1.OrderHeader{}}
	var grace time.Duration
	cmd := &cobra.Command{Use: "stop ID", Short: "Stop a dyno", Args: cobra.ExactArgs(1)}
	cmd.RunE = f.ask(func(ctx context.Context, agent dynodv1.AgentServiceClient, args []string) (proto.Message, error) {
		order.Header.DynoId = args[0]
		if cmd.Flags().Changed("grace") {
			order.Grace = durationpb.New(grace)
		}
		return agent.StopDyno(ctx, order)
	})
	cmd.Flags().Int64Var(&order.Header.Generation, "generation", 1, "generation of the order; lower than the dyno's is refused")
	cmd.Flags().DurationVar(&grace, "grace", 0, "time between SIGTERM and SIGKILL (default: as the dyno's order says)")
	cmd.Flags().StringVar(&order.Reason, "reason", "", "platform line to log first")
	return cmd
}

func (f *orderFlags) get() *cobra.Command {
	return &cobra.Command{
		Use:   "get ID",
		Short: "Show a dyno",
		Args:  cobra.ExactArgs(1),
		RunE: f.ask(func(ctx context.Context, agent dynodv1.AgentServiceClient, args []string) (proto.Message, error) {
			return agent.GetDyno(ctx, &dynodv1.GetDynoRequest{DynoId: args[0]})
		}),
	}
}

func (f *orderFlags) list() *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "Show all dynos of the agent's host",
		Args:  cobra.NoArgs,
		RunE: f.ask(func(ctx context.Context, agent dynodv1.AgentServiceClient, _ []string) (proto.Message, error) {
			return agent.ListDynos(ctx, &dynodv1.ListDynosRequest{})
		}),
	}
}
