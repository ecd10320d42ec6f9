package main_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	dynodv1 "github.com/dynod/dynod/proto/dynod/v1"
)

const sum = "1234567890abcdef1234567890abcdef1234567890abcdef1234567890abcdef"

// artifacts are a slug in use, one that is not, an old image and a stack.
func artifacts() []*dynodv1.CachedArtifact {
	ago := func(d time.Duration) *timestamppb.Timestamp { return timestamppb.New(time.Now().Add(-d)) }
	return []*dynodv1.CachedArtifact{
		{Name: "SHA256:" + sum, SizeBytes: 3 << 20, References: 2, LastUsedAt: ago(0)},
		{Name: "SHA256:" + strings.Repeat("0", 64), SizeBytes: 1 << 20, LastUsedAt: ago(5 * time.Minute)},
		{Name: "r.example/app@sha256:" + sum, SizeBytes: 1 << 30, LastUsedAt: ago(72 * time.Hour)},
		{Name: "r.example/stack:24\x1b[2J", SizeBytes: 1 << 31, LastUsedAt: ago(96 * time.Hour), Stack: true},
	}
}

func (a *agent) ListArtifacts(context.Context, *dynodv1.ListArtifactsRequest) (*dynodv1.ListArtifactsResponse, error) {
	return &dynodv1.ListArtifactsResponse{Artifacts: artifacts()}, nil
}

func (a *agent) PruneArtifacts(_ context.Context, in *dynodv1.PruneArtifactsRequest) (*dynodv1.PruneArtifactsResponse, error) {
	a.note(in)
	return &dynodv1.PruneArtifactsResponse{Removed: artifacts()[1:3]}, a.now().refuse
}

func (a *agent) PrefetchArtifact(in *dynodv1.PrefetchArtifactRequest, out grpc.ServerStreamingServer[dynodv1.PrefetchArtifactResponse]) error {
	a.note(in)
	for _, p := range []*dynodv1.PrefetchArtifactResponse{{}, {FetchedBytes: 1 << 20, TotalBytes: 4 << 20}} {
		if err := out.Send(p); err != nil {
			return err
		}
	}
	if err := a.now().refuse; err != nil {
		return err
	}
	return out.Send(&dynodv1.PrefetchArtifactResponse{FetchedBytes: 4 << 20, TotalBytes: 4 << 20, Complete: true})
}

func imageOf(ref, user, password string) *dynodv1.PrefetchArtifactRequest {
	return &dynodv1.PrefetchArtifactRequest{Artifact: &dynodv1.Artifact{Kind: &dynodv1.Artifact_Image{
		Image: &dynodv1.ImageArtifact{Reference: ref, Username: user, Password: password},
	}}}
}

func slugOf(url string) *dynodv1.PrefetchArtifactRequest {
	return &dynodv1.PrefetchArtifactRequest{Artifact: &dynodv1.Artifact{Kind: &dynodv1.Artifact_Slug{
		Slug: &dynodv1.SlugArtifact{Url: url, Sha256: sum, Stack: "small"},
	}}}
}

func TestPull(t *testing.T) {
	a := newAgent(t)
	want(t, run(t, a, "", "pull", "r.example/app:1"), 0, "complete: 4MiB fetched\n", "")
	want(t, run(t, a, "secret\n", "prefetch", "r.example/app:1", "-u", "me", "--password-stdin"), 0, "complete: 4MiB fetched\n", "")
	want(t, run(t, a, "https://s.example/x?sig=1\n", "pull", "--slug", "-", "--sha256", "SHA256:"+strings.ToUpper(sum), "--stack", "small"), 0, "complete: 4MiB fetched\n", "")
	want(t, run(t, a, "", "pull", "--slug=https://s.example/y", "--sha256", sum, "--stack", "small", "-o", "json"), 0, `
{
  "fetchedBytes": "4194304",
  "totalBytes": "4194304",
  "complete": true
}
`, "")
	wantOrders(t, a, imageOf("r.example/app:1", "", ""), imageOf("r.example/app:1", "me", "secret"),
		slugOf("https://s.example/x?sig=1"), slugOf("https://s.example/y"))
}

func TestPullUsage(t *testing.T) {
	a := newAgent(t)
	for text, args := range map[string][]string{
		"an image or --slug is required":                 {"pull"},
		"an image and --slug: only one of them":          {"pull", "x", "--slug", "y"},
		"--sha256 and --stack are for --slug":            {"pull", "x", "--stack", "y"},
		"--username and --password-stdin are for images": {"pull", "--slug", "x", "-u", "y"},
		"standard input is empty":                        {"pull", "x", "--password-stdin"},
	} {
		want(t, run(t, a, "", args...), 2, "", "dynoctl: "+text+"\n")
	}
	wantOrders(t, a)
}

func TestPullFails(t *testing.T) {
	a := newAgent(t)
	a.change(func(w *world) { w.refuse = status.Error(codes.DataLoss, "fetch slug: checksum does not match") })
	want(t, run(t, a, "", "pull", "x"), 1, "", "dynoctl: fetch slug: checksum does not match\n")
	want(t, run(t, a, "", "pull", "x", "-o", "json"), 1, "", "dynoctl: fetch slug: checksum does not match\n")
}

func TestPullDrawsABar(t *testing.T) {
	got := onTerminal(t, newAgent(t), nil, "pull", "r.example/app:1")
	const erase = "\r\x1b[K"
	first, rest, _ := strings.Cut(strings.TrimPrefix(got, erase), erase)
	second, rest, _ := strings.Cut(rest, erase)
	if first != "0B" || second != "[=======>                      ]  25% 1MiB of 4MiB" || !strings.HasSuffix(rest, erase+"complete: 4MiB fetched\r\n") {
		t.Errorf("drawn %q", got)
	}
}

func TestImages(t *testing.T) {
	a := newAgent(t)
	table := `
ARTIFACT                           SIZE  DYNOS  USED  KIND
SHA256:1234567890ab                3MiB  2      0s    slug
SHA256:000000000000                1MiB  0      5m    slug
r.example/app@sha256:1234567890ab  1GiB  0      3d    image
r.example/stack:24\x1b[2J          2GiB  0      4d    stack
`
	want(t, run(t, a, "", "images"), 0, table, "")
	want(t, run(t, a, "", "artifacts"), 0, table, "")
	if got := run(t, a, "", "images", "-o", "json"); !strings.Contains(got.out, `"sizeBytes": "3145728"`) || got.code != 0 {
		t.Errorf("got %+v", got)
	}
}

func TestPrune(t *testing.T) {
	a := newAgent(t)
	small, image := "SHA256:"+strings.Repeat("0", 64)+"\n", "r.example/app@sha256:"+sum+"\n"
	want(t, run(t, a, "", "prune"), 0, small+image+"2 removed, 1.001GiB\n", "")
	want(t, run(t, a, "", "prune", "--unused-for", "72h"), 0, small+image+"2 removed, 1.001GiB\n", "")
	want(t, run(t, a, "", "prune", "--dry-run"), 0, small+image+"2 would be removed, 1.001GiB\n", "")
	want(t, run(t, a, "", "prune", "--dry-run", "--unused-for=1h"), 0, image+"1 would be removed, 1GiB\n", "")
	want(t, run(t, a, "", "prune", "--dry-run", "--unused-for=100h"), 0, "0 would be removed, 0B\n", "")
	want(t, run(t, a, "", "prune", "--unused-for", "-1s"), 2, "", "dynoctl: --unused-for -1s: must not be negative\n")
	wantOrders(t, a, &dynodv1.PruneArtifactsRequest{UnusedFor: durationpb.New(0)}, &dynodv1.PruneArtifactsRequest{UnusedFor: durationpb.New(72 * time.Hour)})
}
