package slug

import (
	"context"
	"fmt"
	"os"
	"time"

	containerd "github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Apply takes a file of this format into containerd's content store and returns how long containerd needs to unpack it from there
// into an empty snapshot, as it does with a layer of an image. What it unpacked stays: ext4 without a journal makes new files slower for
// minutes after many were removed, whoever makes them.
func Apply(ctx context.Context, address, namespace, file string, format Format) (time.Duration, error) {
	client, err := containerd.New(address)
	if err != nil {
		return 0, err
	}
	defer client.Close()
	ctx = namespaces.WithNamespace(ctx, namespace)
	ctx, _, err = client.WithLease(ctx)
	if err != nil {
		return 0, err
	}
	desc, err := ingest(ctx, client, file, format.mediaType)
	if err != nil {
		return 0, fmt.Errorf("take in: %w", err)
	}
	key := "apply-" + desc.Digest.Encoded()
	mounts, err := client.SnapshotService("overlayfs").Prepare(ctx, key, "")
	if err != nil {
		return 0, err
	}
	began := time.Now()
	if _, err := client.DiffService().Apply(ctx, desc, mounts); err != nil {
		return 0, err
	}
	return time.Since(began), nil
}

func ingest(ctx context.Context, client *containerd.Client, file, mediaType string) (desc ocispec.Descriptor, err error) {
	f, err := os.Open(file)
	if err != nil {
		return desc, err
	}
	defer f.Close()
	if desc.Digest, err = digest.FromReader(f); err != nil {
		return desc, err
	}
	if _, err := f.Seek(0, 0); err != nil {
		return desc, err
	}
	info, err := f.Stat()
	if err != nil {
		return desc, err
	}
	desc.MediaType, desc.Size = mediaType, info.Size()
	return desc, content.WriteBlob(ctx, client.ContentStore(), desc.Digest.Encoded(), f, desc)
}
