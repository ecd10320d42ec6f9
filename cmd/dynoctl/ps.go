package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	dynodv1 "github.com/dynod/dynod/proto/dynod/v1"
)

func (c *ctl) ps() *cobra.Command {
	return &cobra.Command{
		Use:     "ps",
		Aliases: []string{"list", "ls"},
		Short:   "List the dynos of the host",
		Args:    cobra.NoArgs,
		RunE: c.withAgent(func(ctx context.Context, agent dynodv1.AgentServiceClient, _ []string) error {
			answer, err := agent.ListDynos(ctx, &dynodv1.ListDynosRequest{})
			if err != nil {
				return err
			}
			if c.json() {
				return c.writeJSON(answer)
			}
			return c.writeTable(dynoRows(answer.GetDynos()))
		}),
	}
}

func dynoRows(dynos []*dynodv1.Dyno) [][]string {
	rows := [][]string{{"ID", "APP", "NAME", "SIZE", "PHASE", "SINCE", "LIVES", "ADDRESS", "HOSTPORT", "EXIT"}}
	for _, d := range dynos {
		rows = append(rows, []string{
			short(d.GetId()), d.GetApp(), d.GetName(), d.GetSize(), phase(d), age(d.GetPhaseSince()),
			fmt.Sprint(d.GetLives()), d.GetAddress(), number(d.GetHostPort()), exit(d.GetExit()),
		})
	}
	return rows
}

func short(id string) string { return id[:min(len(id), shortID)] }

// phase is the word for a dyno's phase: "up", "stopping (stuck)".
func phase(d *dynodv1.Dyno) string {
	word := strings.ToLower(strings.TrimPrefix(d.GetPhase().String(), "PHASE_"))
	if d.GetStuck() {
		word += " (stuck)"
	}
	return word
}

// exit is a life's end in short: "0", "137 R15 OOM", "lost" when the platform does not know the code.
func exit(e *dynodv1.Exit) string {
	if e == nil {
		return ""
	}
	words := []string{fmt.Sprint(e.GetCode())}
	if e.GetPlatformFailure() != "" {
		words[0] = "lost"
	}
	if e.GetErrorCode() != "" {
		words = append(words, e.GetErrorCode())
	}
	if e.GetOutOfMemory() {
		words = append(words, "OOM")
	}
	return strings.Join(words, " ")
}
