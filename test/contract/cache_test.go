package contract_test

import (
	"context"
	"errors"
	"io"
	"slices"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	dynodv1 "github.com/dynod/dynod/proto/dynod/v1"
	"github.com/dynod/dynod/test/lab"
)

// private is an image that no dyno of the other checks has.
func private() (v1.Image, error) {
	stack, err := lab.SmallStack(context.Background())
	if err != nil {
		return nil, err
	}
	return lab.ImageOn(stack, map[string]lab.File{"private": {}}, v1.Config{Cmd: []string{"/bin/true"}})
}

// ahead fetches a slug before a dyno of it is ordered.
func (s *stage) ahead() error {
	v := s.serve("ahead", whole)
	progress, err := s.API().PrefetchArtifact(s.ctx, &dynodv1.PrefetchArtifactRequest{Artifact: s.slugArtifact(v)})
	done := false
	for err == nil {
		var at *dynodv1.PrefetchArtifactResponse
		at, err = progress.Recv()
		done = done || at.GetComplete()
	}
	if !errors.Is(err, io.EOF) {
		return errors.Join(v.err, err)
	}
	before := v.requests.Load()
	l := s.run("cat name", v.artifact)
	return errors.Join(v.err, l.stdout("ahead"), unless(done && before == 1 && v.requests.Load() == 1, "complete %t, %d requests, then %d", done, before, v.requests.Load()))
}

func (s *stage) slugArtifact(v served) *dynodv1.Artifact {
	return s.order("run.1", "true", v.artifact).GetSpec().GetArtifact()
}

// cached is what the host's cache says of a slug; nil if it is not there.
func (s *stage) cached(sum string) (*dynodv1.CachedArtifact, error) {
	out, err := s.API().ListArtifacts(s.ctx, &dynodv1.ListArtifactsRequest{})
	for _, a := range out.GetArtifacts() {
		if a.GetName() == "SHA256:"+sum {
			return a, err
		}
	}
	return nil, err
}

func (s *stage) listed() error {
	v := s.serve("listed", whole)
	l := s.play(s.order("worker.1", "echo ready; exec sleep 600", v.artifact), s.said("ready"), func(string) error {
		a, err := s.cached(v.sum)
		return errors.Join(err, unless(a.GetReferences() == 1 && a.GetSizeBytes() >= 4*mib, "while it runs the cache says %v", a))
	}, s.stop(""))
	unused := waitFor(s.ctx, "no dyno to use it", func() (bool, error) {
		a, err := s.cached(v.sum)
		return a != nil && a.GetReferences() == 0, err
	})
	return errors.Join(v.err, l.err, unused)
}

// pruned has one slug that a dyno uses and one that none uses any more.
func (s *stage) pruned() error {
	used, unused := s.serve("used", whole), s.serve("unused", whole)
	last := s.run("cat name", unused.artifact)
	l := s.play(s.order("worker.1", "echo ready; exec sleep 600", used.artifact), s.said("ready"), func(string) error {
		return waitFor(s.ctx, "the unused slug to be removed", func() (bool, error) {
			out, err := s.API().PruneArtifacts(s.ctx, &dynodv1.PruneArtifactsRequest{})
			has := func(sum string) bool {
				return slices.ContainsFunc(out.GetRemoved(), func(a *dynodv1.CachedArtifact) bool { return a.GetName() == "SHA256:"+sum })
			}
			return has(unused.sum), errors.Join(err, unless(!has(used.sum), "the slug in use was removed"))
		})
	}, s.stop(""))
	kept, err := s.cached(used.sum)
	return errors.Join(used.err, unused.err, last.err, l.err, err, unless(kept != nil, "the slug in use is not there any more"))
}
