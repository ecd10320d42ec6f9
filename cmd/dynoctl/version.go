package main

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/spf13/cobra"

	dynodv1 "github.com/dynod/dynod/proto/dynod/v1"
)

// versions is the JSON form; Agent is empty when the agent cannot be asked.
type versions struct {
	Dynoctl string `json:"dynoctl"`
	Agent   string `json:"agent"`
}

func (c *ctl) version() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Show the versions of dynoctl and of the agent",
		Args:  cobra.NoArgs,
		RunE: c.withAgent(func(ctx context.Context, agent dynodv1.AgentServiceClient, _ []string) error {
			v := versions{Dynoctl: version}
			answer, err := agent.GetHost(ctx, &dynodv1.GetHostRequest{})
			if err != nil { // its own version is an answer too
				c.complain(err)
			}
			v.Agent = answer.GetHost().GetAgentVersion()
			return c.writeVersions(v)
		}),
	}
}

func (c *ctl) writeVersions(v versions) error {
	if !c.json() {
		return c.writeFacts(facts{{"dynoctl", v.Dynoctl}, {"agent", v.Agent}})
	}
	text, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return fmt.Errorf("encode JSON: %w", err)
	}
	_, err = fmt.Fprintf(c.out, "%s\n", text)
	return err
}
