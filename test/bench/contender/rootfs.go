package contender

import (
	"context"
	"path/filepath"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/dynod/dynod/test/lab"
)

// imageName is what archives of the lab's images call them.
const imageName = "dynod.local/stack/image:latest"

// Rootfs is the one root file system that all start from: the lab's small stack with test/apps/mark below /app.
type Rootfs struct {
	Slug, Sum string // what makes it of the stack
	Archive   string // the same as an OCI image
	Tar       string // the same as plain files
}

// MakeRootfs makes it below dir.
func MakeRootfs(ctx context.Context, dir string) (r Rootfs, err error) {
	mark, err := lab.Mark(ctx)
	if err != nil {
		return r, err
	}
	file := lab.File{From: mark, Mode: 0o755}
	if r.Slug, r.Sum, err = lab.Slug(map[string]lab.File{"mark": file}); err != nil {
		return r, err
	}
	if r.Archive, err = lab.Image(ctx, map[string]lab.File{"app/mark": file}, v1.Config{WorkingDir: "/app"}); err != nil {
		return r, err
	}
	r.Tar = filepath.Join(dir, "rootfs.tar")
	return r, lab.Extract(r.Archive, r.Tar)
}
