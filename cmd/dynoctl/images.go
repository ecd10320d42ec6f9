package main

import (
	"context"
	"fmt"
	"regexp"

	"github.com/spf13/cobra"

	dynodv1 "github.com/dynod/dynod/proto/dynod/v1"
)

func (c *ctl) images() *cobra.Command {
	return &cobra.Command{
		Use:     "images",
		Aliases: []string{"artifacts"},
		Short:   "List the images and slugs on the host",
		Args:    cobra.NoArgs,
		RunE: c.withAgent(func(ctx context.Context, agent dynodv1.AgentServiceClient, _ []string) error {
			answer, err := agent.ListArtifacts(ctx, &dynodv1.ListArtifactsRequest{})
			if err != nil {
				return err
			}
			if c.json() {
				return c.writeJSON(answer)
			}
			return c.writeTable(artifactRows(answer.GetArtifacts()))
		}),
	}
}

func artifactRows(artifacts []*dynodv1.CachedArtifact) [][]string {
	rows := [][]string{{"ARTIFACT", "SIZE", "DYNOS", "USED", "KIND"}}
	for _, a := range artifacts {
		rows = append(rows, []string{
			shortName(a.GetName()), bytesOf(a.GetSizeBytes()), fmt.Sprint(a.GetReferences()), age(a.GetLastUsedAt()), kind(a),
		})
	}
	return rows
}

// longDigest is one that nobody compares by eye.
var longDigest = regexp.MustCompile(`((?i:sha256):[0-9a-f]{12})[0-9a-f]{52}`)

func shortName(name string) string { return longDigest.ReplaceAllString(name, "$1") }

var slugName = regexp.MustCompile(`^SHA256:[0-9a-f]{64}$`)

func kind(a *dynodv1.CachedArtifact) string {
	switch {
	case a.GetStack():
		return "stack"
	case slugName.MatchString(a.GetName()):
		return "slug"
	default:
		return "image"
	}
}
