package rpc_test

import (
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	dynodv1 "github.com/dynod/dynod/proto/dynod/v1"
	"github.com/dynod/dynod/runtime"
)

// prefetch gives all that was told.
func prefetch(h *host, a *dynodv1.Artifact) ([]*dynodv1.PrefetchArtifactResponse, error) {
	stream, err := h.PrefetchArtifact(limited(h.t), &dynodv1.PrefetchArtifactRequest{Artifact: a})
	if err != nil {
		return nil, err
	}
	return all(stream)
}

func TestPrefetch(t *testing.T) {
	h := newHost(t)
	h.runtime.Progresses(runtime.Progress{}, runtime.Progress{Fetched: 5, Total: 10}, runtime.Progress{Fetched: 10, Total: 10})
	got, err := prefetch(h, order(first, "web.1").GetSpec().GetArtifact())
	want := []*dynodv1.PrefetchArtifactResponse{
		{}, {FetchedBytes: 5, TotalBytes: 10}, {FetchedBytes: 10, TotalBytes: 10}, {FetchedBytes: 10, TotalBytes: 10, Complete: true},
	}
	if diff := cmp.Diff(want, got, protocmp.Transform()); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	if _, err := prefetch(h, fullImage(first).GetSpec().GetArtifact()); err != nil {
		t.Error(err)
	}
	asked := []runtime.Artifact{
		{Slug: &runtime.Slug{URL: "https://slugs.example/1", SHA256: strings.Repeat("a", 64), Stack: "small"}},
		{Image: &runtime.Image{Ref: "registry.example/app:1", Username: "someone", Password: "secret-password"}},
	}
	if diff := cmp.Diff(asked, h.runtime.Asked()); diff != "" {
		t.Errorf("asked (-want +got):\n%s", diff)
	}
	eventually(t, "the audit", func() bool { return strings.Contains(h.log.String(), "PrefetchArtifact") })
	if log := h.log.String(); strings.Contains(log, "secret-password") || strings.Contains(log, "slugs.example") {
		t.Errorf("log holds a secret: %s", log)
	}
}

func TestPrefetchIsRefusedAsAnOrder(t *testing.T) {
	h := newHost(t)
	a := order(first, "web.1").GetSpec().GetArtifact()
	a.GetSlug().Url, a.GetSlug().Stack = "http://hidden.example/", "other"
	_, err := prefetch(h, a)
	wantCode(t, err, codes.InvalidArgument)
	var fields []string
	for _, d := range status.Convert(err).Details() {
		for _, v := range d.(*errdetails.BadRequest).GetFieldViolations() {
			fields = append(fields, v.GetField())
		}
	}
	if diff := cmp.Diff([]string{"artifact.slug.stack", "artifact.slug.url"}, fields); diff != "" || strings.Contains(err.Error(), "hidden") {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	_, err = prefetch(h, nil)
	wantCode(t, err, codes.InvalidArgument)
	if asked := h.runtime.Asked(); len(asked) != 0 {
		t.Errorf("asked %+v", asked)
	}
}

func TestPrefetchErrors(t *testing.T) {
	h := newHost(t)
	for _, c := range []struct {
		err  error
		code codes.Code
	}{
		{&runtime.ChecksumError{Expected: "a", Actual: "b"}, codes.DataLoss},
		{errdefs.ErrNotFound, codes.NotFound},
		{errdefs.ErrPermissionDenied, codes.PermissionDenied},
		{errdefs.ErrUnavailable, codes.Unavailable},
	} {
		h.runtime.Fail("Fetch", c.err)
		_, err := prefetch(h, order(first, "web.1").GetSpec().GetArtifact())
		wantCode(t, err, c.code)
	}
}

func TestListAndPruneArtifacts(t *testing.T) {
	h := newHost(t)
	old := time.Now().Add(-time.Hour)
	h.runtime.Cache(
		runtime.Cached{Name: "SHA256:a", Bytes: 5, References: 2, Used: noon},
		runtime.Cached{Name: "r/app:1", Bytes: 6, Used: old},
		runtime.Cached{Name: "r/app:2", Bytes: 7, Used: time.Now()},
		runtime.Cached{Name: "r/stack", Bytes: 8, Stack: true, Used: noon})
	got, err := h.ListArtifacts(limited(t), &dynodv1.ListArtifactsRequest{})
	if err != nil || len(got.GetArtifacts()) != 4 {
		t.Fatalf("got %v, %v", got, err)
	}
	want := &dynodv1.CachedArtifact{Name: "SHA256:a", SizeBytes: 5, References: 2, LastUsedAt: timestamppb.New(noon)}
	if diff := cmp.Diff(want, got.GetArtifacts()[0], protocmp.Transform()); diff != "" || !got.GetArtifacts()[3].GetStack() {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for _, c := range []struct {
		unused *durationpb.Duration
		want   string
	}{{durationpb.New(30 * time.Minute), "r/app:1"}, {nil, "r/app:2"}, {nil, ""}} {
		pruned, err := h.PruneArtifacts(limited(t), &dynodv1.PruneArtifactsRequest{UnusedFor: c.unused})
		var names []string
		for _, r := range pruned.GetRemoved() {
			names = append(names, r.GetName())
		}
		if err != nil || strings.Join(names, " ") != c.want {
			t.Errorf("unused for %v: %q, %v", c.unused.AsDuration(), names, err)
		}
	}
	_, err = h.PruneArtifacts(limited(t), &dynodv1.PruneArtifactsRequest{UnusedFor: durationpb.New(-time.Second)})
	wantCode(t, err, codes.InvalidArgument)
}
