package agent

import (
	"context"
	"iter"
	"slices"
	"time"

	"github.com/dynod/dynod/agent/dyno"
	"github.com/dynod/dynod/runtime"
)

const (
	// roomEvery is how often the cache of artifacts is looked through when nothing is fetched.
	roomEvery = 5 * time.Minute
	roomLimit = 10 * time.Minute // of a removal
	listLimit = 30 * time.Second
)

// Progress is how far a fetch is, in bytes. Total is 0 while it is unknown.
type Progress = runtime.Progress

// Prefetch brings an artifact to this host ahead of any order. dyno.Invalid is returned at once for one that an order
// could not have; every other error comes as the last of the sequence, DataLoss for a slug that is not what was asked
// for. A caller who goes away does not stop the fetch.
func (a *Agent) Prefetch(ctx context.Context, what dyno.Artifact, secret dyno.Secret) (iter.Seq2[Progress, error], error) {
	if err := a.settings().Defaults.Sources.ValidateArtifact(what, secret); err != nil {
		return nil, err
	}
	return a.Runtime.Fetch(ctx, artifact(what, secret)), nil
}

// Artifacts are those on this host, by name.
func (a *Agent) Artifacts(ctx context.Context) ([]dyno.Cached, error) {
	ctx, cancel := context.WithTimeout(ctx, listLimit)
	defer cancel()
	found, err := a.Runtime.Artifacts(ctx)
	all := make([]dyno.Cached, len(found))
	for i, f := range found {
		all[i] = dyno.Cached{Name: f.Name, Bytes: f.Bytes, References: f.References, Stack: f.Stack, Used: f.Used, Disk: dyno.Disk(f.Disk)}
	}
	return all, err
}

// Prune removes the artifacts that no dyno has used for so long, and returns them. Some may have gone although it fails.
func (a *Agent) Prune(ctx context.Context, unused time.Duration) ([]dyno.Cached, error) {
	return a.remove(ctx, func(all []dyno.Cached, now time.Time) []dyno.Cached { return dyno.Unused(all, unused, now) })
}

// remove removes what the rule chooses. What comes into use meanwhile stays.
func (a *Agent) remove(ctx context.Context, rule func([]dyno.Cached, time.Time) []dyno.Cached) ([]dyno.Cached, error) {
	ctx, cancel := context.WithTimeout(ctx, roomLimit)
	defer cancel()
	all, err := a.Artifacts(ctx)
	if err != nil {
		return nil, err
	}
	chosen := rule(all, time.Now())
	if len(chosen) == 0 {
		return nil, nil
	}
	var names []string
	for _, c := range chosen {
		names = append(names, c.Name)
	}
	gone, err := a.Runtime.Remove(ctx, names...)
	removed := slices.DeleteFunc(chosen, func(c dyno.Cached) bool { return !slices.Contains(gone, c.Name) })
	for _, c := range removed {
		a.Log.Info("artifact removed", "artifact", c.Name, "bytes", c.Bytes, "used", c.Used)
	}
	return removed, err
}

// keepRoom removes what the settings no longer keep: after every fetch, and now and then. It does not begin with that:
// the dynos that were taken over shall first have said what they use.
func (a *Agent) keepRoom(ctx context.Context) {
	ticker := time.NewTicker(roomEvery)
	defer ticker.Stop()
	for {
		select {
		case <-a.Runtime.Fetched():
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
		if _, err := a.remove(ctx, a.settings().Keeping.Evict); err != nil && ctx.Err() == nil {
			a.Log.Warn("remove unused artifacts", "err", err)
		}
	}
}

// keepArtifact keeps what the next life of a crashed dyno needs: the URL in its order may no longer be good by then.
func (r *runner) keepArtifact() {
	if err := r.Runtime.Keep(r.rec.ID, artifact(r.rec.Spec.Artifact, r.rec.Spec.Secret)); err != nil {
		r.log.Warn("keep artifact for the next life", "err", err)
	}
}
