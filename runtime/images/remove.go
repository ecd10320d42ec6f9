package images

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	containerd "github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/image-spec/identity"
)

// Info is an image of the store.
type Info struct {
	Name  string
	Chain string // "": its configuration cannot be read
	Bytes int64  // on disk; layers that it shares count in full
	Dir   string // one of its layers; "" if it is not unpacked
}

// List is all images.
func (s *Store) List(ctx context.Context) ([]Info, error) {
	records, err := s.client.ImageService().List(ctx)
	if err != nil {
		return nil, fmt.Errorf("list images: %w", err)
	}
	all := make([]Info, 0, len(records))
	for _, record := range records {
		all = append(all, s.info(ctx, containerd.NewImage(s.client, record)))
	}
	return all, nil
}

// info tells as much as can be told: an image that is not whole is there too.
func (s *Store) info(ctx context.Context, found containerd.Image) Info {
	i := Info{Name: found.Name()}
	i.Bytes, _ = found.Usage(ctx)
	image, err := s.describe(ctx, found)
	if err != nil {
		return i
	}
	i.Chain = image.Chain
	service := s.client.SnapshotService(Snapshotter)
	for n := range image.diffs {
		usage, err := service.Usage(ctx, identity.ChainID(image.diffs[:n+1]).String())
		if err == nil {
			i.Bytes += usage.Size
		}
	}
	if layers, err := s.mounted(ctx, image.Chain); err == nil {
		i.Dir = filepath.Dir(layers[0])
	}
	return i
}

// Forget takes away an image's name. Its layers go with Drop and Collect. Nothing there is no error.
func (s *Store) Forget(ctx context.Context, name string) error {
	if err := s.client.ImageService().Delete(ctx, name); err != nil && !errdefs.IsNotFound(err) {
		return fmt.Errorf("forget image %s: %w", name, err)
	}
	return nil
}

// Chains are those whose layers are kept, whether an image has them or not.
func (s *Store) Chains(ctx context.Context) ([]string, error) {
	var chains []string
	err := s.client.SnapshotService(Snapshotter).Walk(ctx, func(_ context.Context, info snapshots.Info) error {
		if chain, ok := strings.CutPrefix(info.Name, view); ok {
			chains = append(chains, chain)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list layers: %w", err)
	}
	return chains, nil
}

// Drop no longer keeps the layers of a chain. Nothing there is no error.
func (s *Store) Drop(ctx context.Context, chain string) error {
	if err := s.client.SnapshotService(Snapshotter).Remove(ctx, view+chain); err != nil && !errdefs.IsNotFound(err) {
		return fmt.Errorf("drop layers: %w", err)
	}
	return nil
}

// Collect has containerd remove, before it returns, what no image and no chain that is kept needs.
func (s *Store) Collect(ctx context.Context) error {
	manager := s.client.LeasesService()
	lease, err := manager.Create(ctx, leases.WithRandomID())
	if err != nil {
		return fmt.Errorf("take lease: %w", err)
	}
	// Only a deletion runs the collector.
	if err := manager.Delete(ctx, lease, leases.SynchronousDelete); err != nil {
		return errors.Join(fmt.Errorf("collect: %w", err), manager.Delete(context.WithoutCancel(ctx), lease))
	}
	return nil
}
