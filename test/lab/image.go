package lab

import (
	"context"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// Image is the same app, with the same files, as an image on the archive of AppStack.
func (p ThirdParty) Image(ctx context.Context, stack string) (v1.Image, error) {
	files, err := p.files(ctx)
	if err != nil {
		return nil, fmt.Errorf("pack %s: %w", p.Name, err)
	}
	env := map[string]string{"PATH": stackPath}
	maps.Copy(env, p.Env)
	config := v1.Config{WorkingDir: "/app", Cmd: []string{"/bin/sh", "-c", "exec " + p.Command}}
	for _, name := range slices.Sorted(maps.Keys(env)) {
		config.Env = append(config.Env, name+"="+env[name])
	}
	return ImageOn(stack, placed(files), config)
}

// ImageOn is an image of one more layer, with files named from its root, on the image of a stack's archive. It has the
// configuration given and nothing of the stack's own.
func ImageOn(stack string, files map[string]File, config v1.Config) (v1.Image, error) {
	base, err := open(stack)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", stack, err)
	}
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) {
		r, w := io.Pipe()
		go func() { w.CloseWithError(writeTar(w, files)) }()
		return r, nil
	}, tarball.WithCompressedCaching)
	if err != nil {
		return nil, fmt.Errorf("make layer: %w", err)
	}
	img, err := mutate.AppendLayers(base, layer)
	if err != nil {
		return nil, fmt.Errorf("add layer: %w", err)
	}
	return mutate.Config(img, config)
}

// open is the image in an archive that this package made, unpacked beside it.
func open(archive string) (v1.Image, error) {
	dir, err := Cached(filepath.Base(archive)+".layout", func(path string) error {
		if err := os.Mkdir(path, 0o755); err != nil {
			return err
		}
		if out, err := exec.Command("tar", "-xf", archive, "-C", path).CombinedOutput(); err != nil {
			return fmt.Errorf("unpack archive: %w\n%s", err, out)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	index, err := layout.ImageIndexFromPath(dir)
	if err != nil {
		return nil, err
	}
	manifest, err := index.IndexManifest()
	if err != nil {
		return nil, err
	}
	return index.Image(manifest.Manifests[0].Digest)
}
