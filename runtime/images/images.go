// Package images keeps container images unpacked in containerd: from registries and from OCI archives on disk.
//
// Of an image it gives the directories of its layers and what its configuration says about the command. It trusts
// neither users nor volumes of it, nor labels but the one in which Cloud Native Buildpacks name process types; it mounts
// nothing and changes no layer.
package images

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	containerd "github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/errdefs"
	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/identity"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"

	"github.com/dynod/dynod/runtime/transfer"
)

const (
	// Snapshotter is the one of containerd that keeps layers.
	Snapshotter = "overlayfs"
	// keepLabel on a snapshot says that containerd must not collect it.
	keepLabel = "containerd.io/gc.root"
	// view begins the name of the snapshot that keeps a chain of layers.
	view = "view-"
	// maxConfig bounds an image's configuration and its manifests, in bytes, as registries bound manifests.
	maxConfig = 4 << 20
)

// Ref says where an image is: a registry's reference, by digest if it is to be exactly one, or the absolute path of
// an OCI archive.
type Ref struct {
	Name               string
	Username, Password string // for the registry; empty if it wants none
}

// Image is one that is here.
type Image struct {
	Name                 string // in containerd
	Chain                string // identifies its layers together
	Entrypoint, Cmd, Env []string
	Dir                  string
	Buildpacks           *Buildpacks // nil for one that Cloud Native Buildpacks did not build

	diffs []digest.Digest
}

// Config is how images are fetched.
type Config struct {
	PlainHTTP []string      // registry hosts that are spoken to without TLS
	HostsDir  string        // a directory for each registry with containerd's hosts.toml; empty: none
	Stall     time.Duration // how long a registry may send nothing before a pull fails
}

// Store is the images of one containerd namespace. All methods may be called by any goroutine, but Fetch not twice
// at once for one reference: the caller joins those.
type Store struct {
	client *containerd.Client
	config Config
	known  described
}

// New is a store over client, whose namespace it uses.
func New(client *containerd.Client, config Config) *Store {
	return &Store{client: client, config: config}
}

// Fetch makes an image present and unpacked, every part verified by its digest. What is pinned by a digest, or is an
// archive that has not changed, is only looked for. A tag is asked for anew every time.
//
// Unavailable: the registry stopped in the middle, or containerd is away; what has arrived is not fetched again.
func (s *Store) Fetch(ctx context.Context, ref Ref, progress *transfer.Progress) error {
	name, err := Name(ref.Name)
	if err != nil {
		return err
	}
	if !Settled(ref.Name) {
		return s.pull(ctx, name, ref, progress)
	}
	err = s.complete(ctx, ref.Name)
	switch {
	case !errdefs.IsNotFound(err):
		return err
	case filepath.IsAbs(ref.Name):
		return s.load(ctx, name, ref.Name)
	}
	return s.pull(ctx, name, ref, progress)
}

// complete says whether all of an image is here, and keeps its layers.
func (s *Store) complete(ctx context.Context, ref string) error {
	image, err := s.Lookup(ctx, ref)
	if err == nil {
		_, err = s.Layers(ctx, image)
	}
	return err
}

// Name is what an image is called in containerd: a registry's reference in full, or a name that is made of an
// archive's path, size and time, so that an archive that was replaced is another image.
func Name(ref string) (string, error) {
	if filepath.IsAbs(ref) {
		info, err := os.Stat(ref)
		if err != nil {
			return "", fmt.Errorf("find archive: %w: %w", errdefs.ErrNotFound, err)
		}
		sum := sha256.Sum256(fmt.Appendf(nil, "%s %d %d", ref, info.Size(), info.ModTime().UnixNano()))
		return "archive.invalid/" + hex.EncodeToString(sum[:]) + ":oci", nil
	}
	named, err := reference.ParseDockerRef(ref)
	if err != nil {
		return "", fmt.Errorf("parse image reference %q: %w: %w", ref, errdefs.ErrInvalidArgument, err)
	}
	return named.String(), nil
}

// Settled says whether a reference leads to one image for good: asking for it anew brings nothing new.
func Settled(ref string) bool { return filepath.IsAbs(ref) || pinned(ref) }

func pinned(name string) bool { return strings.Contains(name, "@") }

// Lookup describes an image that is here; NotFound when it is not. It asks nobody outside.
func (s *Store) Lookup(ctx context.Context, ref string) (Image, error) {
	name, err := Name(ref)
	if err != nil {
		return Image{}, err
	}
	found, err := s.client.GetImage(ctx, name)
	if err != nil {
		return Image{}, fmt.Errorf("find image %s: %w", ref, err)
	}
	image, err := s.describe(ctx, found)
	if err != nil {
		return Image{}, fmt.Errorf("read configuration of image %s: %w", ref, err)
	}
	return image, nil
}

func (s *Store) describe(ctx context.Context, found containerd.Image) (Image, error) {
	digest := found.Target().Digest
	image, known := s.known.get(digest)
	if !known {
		var err error
		if image, err = s.read(ctx, found); err != nil {
			return Image{}, err
		}
		s.known.put(digest, image)
	}
	image.Name = found.Name()
	return image, nil
}

func (s *Store) read(ctx context.Context, found containerd.Image) (Image, error) {
	descriptor, err := found.Config(ctx)
	if err != nil {
		return Image{}, err
	}
	if err := s.small(ctx, descriptor); err != nil {
		return Image{}, err
	}
	blob, err := content.ReadBlob(ctx, s.client.ContentStore(), descriptor)
	if err != nil {
		return Image{}, err
	}
	var config ocispec.Image
	if err := json.Unmarshal(blob, &config); err != nil {
		return Image{}, fmt.Errorf("%w: %w", errdefs.ErrInvalidArgument, err)
	}
	buildpacks, err := readBuildpacks(config.Config)
	if err != nil {
		return Image{}, err
	}
	c := config.Config
	return Image{
		Chain: identity.ChainID(config.RootFS.DiffIDs).String(), diffs: config.RootFS.DiffIDs,
		Entrypoint: slices.Clip(c.Entrypoint), Cmd: slices.Clip(c.Cmd), Env: slices.Clip(c.Env), Dir: c.WorkingDir, Buildpacks: buildpacks,
	}, nil
}

// small refuses what is too large to be read into memory. A descriptor's own word does not do: nobody compares it with
// what is here already.
func (s *Store) small(ctx context.Context, d ocispec.Descriptor) error {
	info, err := s.client.ContentStore().Info(ctx, d.Digest)
	if err != nil && !errdefs.IsNotFound(err) {
		return err
	}
	if size := max(d.Size, info.Size); size > maxConfig {
		return fmt.Errorf("%w: it has %d bytes, more than %d", errdefs.ErrInvalidArgument, size, maxConfig)
	}
	return nil
}

// Layers are the directories of an image's layers, the topmost first; NotFound if it is not unpacked.
func (s *Store) Layers(ctx context.Context, image Image) ([]string, error) {
	layers, err := s.layers(ctx, image.Chain)
	if err != nil {
		return nil, fmt.Errorf("find layers of image %s: %w", image.Name, err)
	}
	return layers, nil
}

// layers asks the snapshotter where a chain of layers lies, through a view of it that is made once and kept: the
// view also keeps the layers.
func (s *Store) layers(ctx context.Context, chain string) ([]string, error) {
	dirs, err := s.mounted(ctx, chain)
	if !errdefs.IsNotFound(err) {
		return dirs, err
	}
	keep := snapshots.WithLabels(map[string]string{keepLabel: time.Now().UTC().Format(time.RFC3339)})
	_, err = s.client.SnapshotService(Snapshotter).View(ctx, view+chain, chain, keep)
	if err != nil && !errdefs.IsAlreadyExists(err) {
		return nil, err
	}
	return s.mounted(ctx, chain)
}

// mounted is NotFound where the chain has no view.
func (s *Store) mounted(ctx context.Context, chain string) ([]string, error) {
	if chain == "" {
		return nil, fmt.Errorf("list layers: %w: the image has none", errdefs.ErrInvalidArgument)
	}
	mounts, err := s.client.SnapshotService(Snapshotter).Mounts(ctx, view+chain)
	if err != nil {
		return nil, err
	}
	return directories(mounts)
}

// directories reads them out of the mount that the snapshotter would make.
func directories(mounts []mount.Mount) ([]string, error) {
	if len(mounts) != 1 {
		return nil, fmt.Errorf("read snapshot: %w: %d mounts", errdefs.ErrNotImplemented, len(mounts))
	}
	switch m := mounts[0]; m.Type {
	case "bind":
		return present([]string{m.Source})
	case "overlay":
		for _, option := range m.Options {
			if dirs, ok := strings.CutPrefix(option, "lowerdir="); ok {
				return present(strings.Split(dirs, ":"))
			}
		}
	}
	return nil, fmt.Errorf("read snapshot: %w: mount of type %s", errdefs.ErrNotImplemented, mounts[0].Type)
}

// present makes sure that this host's containerd was asked, and not one whose files are elsewhere.
func present(dirs []string) ([]string, error) {
	for _, dir := range dirs {
		if err := unix.Access(dir, unix.R_OK|unix.X_OK); err != nil {
			return nil, fmt.Errorf("look at layer %s: %w", dir, err)
		}
	}
	return dirs, nil
}
