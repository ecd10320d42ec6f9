package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	dynodv1 "github.com/dynod/dynod/proto/dynod/v1"
)

// shortID is how many digits of an id tables show.
const shortID = 8

// resolve finds the dyno that a user means by word.
func resolve(ctx context.Context, agent dynodv1.AgentServiceClient, word string) (*dynodv1.Dyno, error) {
	answer, err := agent.ListDynos(ctx, &dynodv1.ListDynosRequest{})
	if err != nil {
		return nil, err
	}
	return pick(answer.GetDynos(), word)
}

func pick(dynos []*dynodv1.Dyno, word string) (*dynodv1.Dyno, error) {
	found := matches(dynos, word)
	if len(found) > 1 {
		// Its predecessors are kept for a while after their end; the living one is meant.
		if living := slices.DeleteFunc(slices.Clone(found), over); len(living) == 1 {
			found = living
		}
	}
	switch len(found) {
	case 0:
		return nil, status.Errorf(codes.NotFound, "no dyno has the name %q or an id that begins so", word)
	case 1:
		return found[0], nil
	default:
		ids := make([]string, len(found))
		for i, d := range found {
			ids[i] = d.GetId()
		}
		return nil, usageError{fmt.Errorf("%q means %d dynos: %s", word, len(found), strings.Join(ids, ", "))}
	}
}

// matches gives the dynos of that id, or else of that name or beginning of an id.
func matches(dynos []*dynodv1.Dyno, word string) []*dynodv1.Dyno {
	var found []*dynodv1.Dyno
	for _, d := range dynos {
		if d.GetId() == word {
			return []*dynodv1.Dyno{d}
		}
		if d.GetName() == word || d.GetApp()+"/"+d.GetName() == word || word != "" && strings.HasPrefix(d.GetId(), word) {
			found = append(found, d)
		}
	}
	return found
}

// over tells whether a dyno has ended for good.
func over(d *dynodv1.Dyno) bool {
	switch d.GetPhase() {
	case dynodv1.Phase_PHASE_DOWN, dynodv1.Phase_PHASE_COMPLETE:
		return true
	case dynodv1.Phase_PHASE_CRASHED:
		return d.GetNextStartAt() == nil
	default:
		return false
	}
}

// completeFirst offers the dynos of the host for the first argument only.
func (c *ctl) completeFirst(cmd *cobra.Command, args []string, word string) ([]cobra.Completion, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return c.offerDynos(cmd)
}

// completeDynos offers the dynos of the host to the shell. A shell cannot show errors: then it offers nothing.
func (c *ctl) completeDynos(cmd *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
	if cmd.Args(cmd, append(args, "one more")) != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return c.offerDynos(cmd)
}

func (c *ctl) offerDynos(cmd *cobra.Command) ([]cobra.Completion, cobra.ShellCompDirective) {
	agent, hangUp, err := c.connect()
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	defer hangUp()
	answer, err := agent.ListDynos(cmd.Context(), &dynodv1.ListDynosRequest{})
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var words []cobra.Completion
	for _, d := range answer.GetDynos() {
		about := fmt.Sprintf("%s, %s", phase(d), d.GetId())
		words = append(words, cobra.CompletionWithDesc(d.GetApp()+"/"+d.GetName(), about))
	}
	return words, cobra.ShellCompDirectiveNoFileComp
}
