package agenttest

import (
	"context"
	"iter"
	"slices"

	"github.com/dynod/dynod/runtime"
)

// cache is the part of a Runtime that keeps artifacts.
type cache struct {
	prepared  runtime.Prepared
	held      map[string]runtime.Artifact // by dyno
	artifacts []runtime.Cached
	progress  []runtime.Progress
	asked     []runtime.Artifact
	fetched   chan struct{}
}

// Prepared makes Prepare say so of every image.
func (r *Runtime) Prepared(p runtime.Prepared) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.cache.prepared = p
}

// Cache sets what is on the host.
func (r *Runtime) Cache(artifacts ...runtime.Cached) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.cache.artifacts = artifacts
}

// Progresses is what Fetch tells.
func (r *Runtime) Progresses(p ...runtime.Progress) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.cache.progress = p
}

// Asked is what Fetch was asked for.
func (r *Runtime) Asked() []runtime.Artifact {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.cache.asked)
}

// Holds says whether a dyno holds its artifact.
func (r *Runtime) Holds(id string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	_, held := r.cache.held[id]
	return held
}

// Arrive is the end of a fetch.
func (r *Runtime) Arrive() { r.cache.fetched <- struct{}{} }

// Prepare holds the artifact, and is what Prepared said.
func (r *Runtime) Prepare(ctx context.Context, id string, a runtime.Artifact) (runtime.Prepared, error) {
	if err := r.enter(ctx, "Prepare"); err != nil {
		return runtime.Prepared{}, err
	}
	_ = r.Keep(id, a)
	r.mu.Lock()
	defer r.mu.Unlock()
	if a.Image == nil {
		return runtime.Prepared{}, nil
	}
	return r.cache.prepared, nil
}

// Keep holds the artifact.
func (r *Runtime) Keep(id string, a runtime.Artifact) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.cache.held[id] = a
	return nil
}

// Fetch tells what Progresses says.
func (r *Runtime) Fetch(ctx context.Context, a runtime.Artifact) iter.Seq2[runtime.Progress, error] {
	return func(yield func(runtime.Progress, error) bool) {
		r.mu.Lock()
		r.cache.asked = append(r.cache.asked, a)
		progress := r.cache.progress
		r.mu.Unlock()
		for _, p := range progress {
			if !yield(p, nil) {
				return
			}
		}
		if err := r.enter(ctx, "Fetch"); err != nil {
			yield(runtime.Progress{}, err)
		}
	}
}

// Fetched has a token after Arrive.
func (r *Runtime) Fetched() <-chan struct{} { return r.cache.fetched }

// Artifacts is what Cache says.
func (r *Runtime) Artifacts(ctx context.Context) ([]runtime.Cached, error) {
	if err := r.enter(ctx, "Artifacts"); err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.cache.artifacts), nil
}

// Remove removes what nobody refers to.
func (r *Runtime) Remove(ctx context.Context, names ...string) ([]string, error) {
	if err := r.enter(ctx, "Remove"); err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	var gone []string
	r.cache.artifacts = slices.DeleteFunc(r.cache.artifacts, func(c runtime.Cached) bool {
		goes := slices.Contains(names, c.Name) && c.References == 0 && !c.Stack
		if goes {
			gone = append(gone, c.Name)
		}
		return goes
	})
	return gone, nil
}
