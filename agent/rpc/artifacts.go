package rpc

import (
	"context"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/dynod/dynod/agent/dyno"
	dynodv1 "github.com/dynod/dynod/proto/dynod/v1"
)

func (s *service) PrefetchArtifact(in *dynodv1.PrefetchArtifactRequest, out grpc.ServerStreamingServer[dynodv1.PrefetchArtifactResponse]) error {
	ctx := out.Context()
	what, secret := artifact(in.GetArtifact())
	progress, err := s.agent.Prefetch(ctx, what, secret)
	if err != nil {
		return err
	}
	last := &dynodv1.PrefetchArtifactResponse{}
	for p, err := range progress {
		if err != nil {
			return ended(ctx, err)
		}
		last = &dynodv1.PrefetchArtifactResponse{FetchedBytes: p.Fetched, TotalBytes: p.Total}
		if err := out.Send(last); err != nil {
			return err
		}
	}
	return out.Send(&dynodv1.PrefetchArtifactResponse{FetchedBytes: last.GetFetchedBytes(), TotalBytes: last.GetTotalBytes(), Complete: true})
}

func (s *service) ListArtifacts(ctx context.Context, _ *dynodv1.ListArtifactsRequest) (*dynodv1.ListArtifactsResponse, error) {
	all, err := s.agent.Artifacts(ctx)
	if err != nil {
		return nil, err
	}
	return &dynodv1.ListArtifactsResponse{Artifacts: toArtifacts(all)}, nil
}

func (s *service) PruneArtifacts(ctx context.Context, in *dynodv1.PruneArtifactsRequest) (*dynodv1.PruneArtifactsResponse, error) {
	var w wire
	unused := w.duration("unused_for", in.GetUnusedFor(), 0)
	if err := w.err(); err != nil {
		return nil, err
	}
	removed, err := s.agent.Prune(ctx, unused)
	if err != nil {
		return nil, err
	}
	return &dynodv1.PruneArtifactsResponse{Removed: toArtifacts(removed)}, nil
}

func toArtifacts(all []dyno.Cached) []*dynodv1.CachedArtifact {
	var out []*dynodv1.CachedArtifact
	for _, c := range all {
		out = append(out, &dynodv1.CachedArtifact{
			Name: c.Name, SizeBytes: c.Bytes, References: uint32(c.References), LastUsedAt: timestamppb.New(c.Used), Stack: c.Stack,
		})
	}
	return out
}
