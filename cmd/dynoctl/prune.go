package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/durationpb"

	dynodv1 "github.com/dynod/dynod/proto/dynod/v1"
)

// pruneTimeout is the longest wait for a prune where --timeout does not say otherwise: files are deleted meanwhile.
const pruneTimeout = 5 * time.Minute

const pruneLong = `Prune removes the images and slugs that no dyno uses, stack images apart. Dynos
that are just being started and those that wait to be restarted count as users.`

func (c *ctl) prune() *cobra.Command {
	var unused time.Duration
	var dry bool
	cmd := &cobra.Command{
		Use:   "prune",
		Short: "Remove images and slugs that no dyno uses",
		Long:  pruneLong,
		Args:  cobra.NoArgs,
		PreRun: func(cmd *cobra.Command, _ []string) {
			if !cmd.Flags().Changed("timeout") {
				c.timeout = pruneTimeout
			}
		},
		RunE: c.withAgent(func(ctx context.Context, agent dynodv1.AgentServiceClient, _ []string) error {
			if unused < 0 {
				return usageError{fmt.Errorf("--unused-for %s: must not be negative", unused)}
			}
			if dry {
				return c.writePrunable(ctx, agent, unused)
			}
			answer, err := agent.PruneArtifacts(ctx, &dynodv1.PruneArtifactsRequest{UnusedFor: durationpb.New(unused)})
			if err != nil {
				return err
			}
			return c.writePruned(answer, "removed")
		}),
	}
	cmd.Flags().DurationVar(&unused, "unused-for", 0, "only those that no dyno has used for so long, such as 72h")
	cmd.Flags().BoolVar(&dry, "dry-run", false, "only say what would be removed")
	return cmd
}

func (c *ctl) writePrunable(ctx context.Context, agent dynodv1.AgentServiceClient, unused time.Duration) error {
	all, err := agent.ListArtifacts(ctx, &dynodv1.ListArtifactsRequest{})
	if err != nil {
		return err
	}
	would := &dynodv1.PruneArtifactsResponse{}
	for _, a := range all.GetArtifacts() {
		if a.GetReferences() == 0 && !a.GetStack() && time.Since(a.GetLastUsedAt().AsTime()) >= unused {
			would.Removed = append(would.Removed, a)
		}
	}
	return c.writePruned(would, "would be removed")
}

// writePruned prints a line for each artifact, and how many bytes they had.
func (c *ctl) writePruned(answer *dynodv1.PruneArtifactsResponse, verb string) error {
	if c.json() {
		return c.writeJSON(answer)
	}
	var total int64
	for _, a := range answer.GetRemoved() {
		total += a.GetSizeBytes()
		if _, err := fmt.Fprintln(c.out, printable(a.GetName())); err != nil {
			return err
		}
	}
	_, err := fmt.Fprintf(c.out, "%d %s, %s\n", len(answer.GetRemoved()), verb, amounts(total, 0))
	return err
}
