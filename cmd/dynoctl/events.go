package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	dynodv1 "github.com/dynod/dynod/proto/dynod/v1"
)

func (c *ctl) events() *cobra.Command {
	return &cobra.Command{
		Use:   "events",
		Short: "Show every dyno, then every change, until interrupted",
		Args:  cobra.NoArgs,
		RunE: c.withAgent(func(ctx context.Context, agent dynodv1.AgentServiceClient, _ []string) error {
			c.following = true
			stream, err := agent.WatchDynos(ctx, &dynodv1.WatchDynosRequest{})
			if err != nil {
				return err
			}
			for {
				news, err := stream.Recv()
				if err != nil {
					return err
				}
				if err := c.writeNews(news); err != nil {
					return err
				}
			}
		}),
	}
}

func (c *ctl) writeNews(news *dynodv1.WatchDynosResponse) error {
	if c.json() {
		return c.writeJSONLine(news)
	}
	switch e := news.GetEvent().(type) {
	case *dynodv1.WatchDynosResponse_Snapshot:
		for _, d := range e.Snapshot.GetDynos() {
			if err := c.writeEvent(d); err != nil {
				return err
			}
		}
	case *dynodv1.WatchDynosResponse_Changed:
		return c.writeEvent(e.Changed)
	case *dynodv1.WatchDynosResponse_Forgotten:
		_, err := fmt.Fprintf(c.out, "%s %s forgotten\n", time.Now().UTC().Format(time.RFC3339), short(e.Forgotten))
		return err
	}
	return nil
}

// writeEvent writes "<since> <id> app/name phase", and what explains it.
func (c *ctl) writeEvent(d *dynodv1.Dyno) error {
	text := fmt.Sprintf("%s %s %s/%s %s", stamp(d.GetPhaseSince()), short(d.GetId()), d.GetApp(), d.GetName(), phase(d))
	if d.GetReason() != "" {
		text += " (" + d.GetReason() + ")"
	}
	if e := exit(d.GetExit()); e != "" && d.GetPhase() != dynodv1.Phase_PHASE_UP {
		text += " exit " + e
	}
	_, err := fmt.Fprintln(c.out, printable(text))
	return err
}
