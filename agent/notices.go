package agent

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/dynod/dynod/agent/cloud"
)

// Reaction is what the agent does about a notice of the cloud provider, besides reporting it.
type Reaction string

// The reactions. Only an order ends a cordon: not every notice that is gone means that its host will stay.
const (
	ReportOnly Reaction = "report"
	CordonHost Reaction = "cordon"
	DrainHost  Reaction = "drain" // and each dyno has its own grace
)

// retryReaction is how long to wait before a reaction that failed is tried again.
const retryReaction = 5 * time.Second

// heed keeps what the cloud provider says, and reacts once to each notice; an agent that comes anew reacts anew, which
// also takes a drain up again.
func (a *Agent) heed(ctx context.Context) {
	if a.Cloud == nil {
		return
	}
	var known []cloud.Notice
	for said := range a.Cloud.Watch(ctx) {
		a.cloud.Store(&said)
		a.board.touch()
		for _, n := range said.Notices {
			if !slices.ContainsFunc(known, func(k cloud.Notice) bool { return k.ID == n.ID }) {
				a.group.Go(func() { a.react(ctx, n) })
			}
		}
		known = said.Notices
	}
}

// react does what the settings say about a notice, and tries until it is done or an order undoes it.
func (a *Agent) react(ctx context.Context, n cloud.Notice) {
	reaction := a.settings().Reactions[n.Kind]
	log := a.Log.With("kind", n.Kind, "id", n.ID, "reaction", reaction)
	log.Warn("notice of the cloud provider", "action", n.Action, "due", n.Due, "text", n.Text)
	for began := false; !began || a.cordon.Load() != nil; {
		err := a.obey(ctx, n, reaction)
		if err == nil || ctx.Err() != nil || errors.Is(err, errUncordoned) {
			return
		}
		began = a.cordon.Load() != nil
		log.Error("react to notice", "err", err)
		if errors.Is(err, errLeftAlone) {
			return
		}
		a.idle(ctx, retryReaction)
	}
}

func (a *Agent) obey(ctx context.Context, n cloud.Notice, reaction Reaction) error {
	reason := fmt.Sprintf("%s: %s", n.Kind, n.Action)
	switch reaction {
	case CordonHost:
		return a.Cordon(reason)
	case DrainHost:
		return a.drain(ctx, reason, -1, 0)
	default:
		return nil
	}
}
