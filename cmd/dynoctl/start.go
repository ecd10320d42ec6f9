package main

import (
	"context"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/dynod/dynod/cmd/dynoctl/orderfile"
	dynodv1 "github.com/dynod/dynod/proto/dynod/v1"
)

const startLong = `Start orders a dyno from a file that holds a StartDynoRequest as YAML or JSON:

    spec:
      app: shop
      name: web.1
      artifact: {slug: {url: "https://…", sha256: "…", stack: heroku-24}}
      command: {line: "bin/web -p $PORT"}
      environment: {LEVEL: "3"}

A key that the API does not know is an error. Without header.dyno_id the dyno
gets a random id, without header.generation generation 1; both are printed.

With --wait, start returns when the dyno is up (a one-off dyno: complete) and
fails when it crashed, was stopped, or completed with a status other than 0.`

func (c *ctl) start() *cobra.Command {
	var file string
	var env []string
	var wait bool
	cmd := &cobra.Command{
		Use:   "start -f FILE",
		Short: "Start a dyno from an order file",
		Long:  startLong,
		Args:  cobra.NoArgs,
		RunE: c.withAgent(func(ctx context.Context, agent dynodv1.AgentServiceClient, _ []string) error {
			order, err := c.readOrder(file, env)
			if err != nil {
				return err
			}
			answer, err := agent.StartDyno(ctx, order)
			if err != nil {
				return err
			}
			if wait {
				return c.startWait(ctx, agent, order, answer.GetDyno())
			}
			return c.writeStarted(order, answer.GetDyno())
		}),
	}
	cmd.Flags().StringVarP(&file, "file", "f", "", `the order; "-" reads standard input (required)`)
	cmd.Flags().StringArrayVar(&env, "set-env", nil, "KEY=VALUE over the order's environment; may be repeated")
	cmd.Flags().BoolVar(&wait, "wait", false, "wait until it is up, or a one-off dyno is complete")
	return cmd
}

func (c *ctl) readOrder(file string, env []string) (*dynodv1.StartDynoRequest, error) {
	var data []byte
	var err error
	switch file {
	case "":
		return nil, usageError{fmt.Errorf("an order is required: -f FILE")}
	case "-":
		data, err = io.ReadAll(c.in)
	default:
		data, err = os.ReadFile(file)
	}
	if err != nil {
		return nil, fmt.Errorf("read order: %w", err)
	}
	order, err := orderfile.Parse(data)
	if err != nil {
		return nil, usageError{err}
	}
	if err := orderfile.SetEnv(order, env); err != nil {
		return nil, usageError{err}
	}
	return order, nil
}

// startWait follows the dyno that was just ordered.
func (c *ctl) startWait(
	ctx context.Context, agent dynodv1.AgentServiceClient, order *dynodv1.StartDynoRequest, dyno *dynodv1.Dyno,
) error {
	id := order.GetHeader().GetDynoId()
	last, err := await(ctx, agent, []string{id}, func(d *dynodv1.Dyno) bool { return ended(order, d) })
	if err != nil {
		return err
	}
	if last[id] != nil {
		dyno = last[id]
	}
	if err := c.writeStarted(order, dyno); err != nil {
		return err
	}
	return startVerdict(order, last[id])
}

// ended tells whether the wait for d is over, well or badly. A crash is bad even where the policy starts it again.
func ended(order *dynodv1.StartDynoRequest, d *dynodv1.Dyno) bool {
	return started(order, d) || over(d) || d.GetPhase() == dynodv1.Phase_PHASE_CRASHED
}

func started(order *dynodv1.StartDynoRequest, d *dynodv1.Dyno) bool {
	return d.GetPhase() == dynodv1.Phase_PHASE_UP && !order.GetSpec().GetOneOff()
}

func startVerdict(order *dynodv1.StartDynoRequest, d *dynodv1.Dyno) error {
	switch {
	case d == nil, !ended(order, d):
		return fmt.Errorf("dyno %s: the agent has forgotten it", order.GetHeader().GetDynoId())
	case started(order, d), d.GetPhase() == dynodv1.Phase_PHASE_COMPLETE && d.GetExit().GetCode() == 0:
		return nil
	}
	err := fmt.Errorf("%s/%s is %s", d.GetApp(), d.GetName(), phase(d))
	if d.GetReason() != "" {
		err = fmt.Errorf("%w: %s", err, d.GetReason())
	}
	if e := exit(d.GetExit()); e != "" {
		err = fmt.Errorf("%w: exit %s", err, e)
	}
	return err
}

// writeStarted prints "<id> generation 1 starting", or the dyno as JSON.
func (c *ctl) writeStarted(order *dynodv1.StartDynoRequest, dyno *dynodv1.Dyno) error {
	if c.json() {
		return c.writeJSON(&dynodv1.StartDynoResponse{Dyno: dyno})
	}
	header := order.GetHeader()
	_, err := fmt.Fprintf(c.out, "%s generation %d %s\n", header.GetDynoId(), header.GetGeneration(), phase(dyno))
	return err
}
