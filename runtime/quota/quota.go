// Package quota bounds what a directory's tree takes on disk by the project quotas of its filesystem (ext4, XFS). It
// chooses no project and remembers none: who calls it does.
package quota

import (
	"errors"
	"fmt"
	"os"

	"github.com/containerd/errdefs"
)

// Limit is what one project may have. Zero: no bound.
type Limit struct {
	Bytes int64
	Files int64 // files and directories
}

// Supported is nil if the filesystem of a directory counts what projects have, and bounds it. NotImplemented: it does
// not, and the error says what is missing.
func Supported(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("look for quotas: %w", err)
	}
	defer f.Close()
	held, err := enforced(f)
	switch {
	case err != nil:
		return fmt.Errorf("look for quotas of %s: %w: %w", dir, errdefs.ErrNotImplemented, err)
	case !held:
		return fmt.Errorf("look for quotas of %s: %w: project quotas are not turned on (mount option prjquota)", dir, errdefs.ErrNotImplemented)
	}
	return nil
}

// Assign gives an empty directory, and whatever will be made below it, to a project, and bounds the project.
func Assign(dir string, project uint32, l Limit) error {
	f, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("assign project: %w", err)
	}
	defer f.Close()
	attrs, err := attributes(f)
	if err != nil {
		return fmt.Errorf("assign project to %s: %w", dir, err)
	}
	attrs.project, attrs.flags = project, attrs.flags|inherit
	if err := setAttributes(f, attrs); err != nil {
		return fmt.Errorf("assign project to %s: %w", dir, err)
	}
	if err := bound(f, project, l); err != nil {
		return fmt.Errorf("bound project %d: %w", project, err)
	}
	return nil
}

// Project is the one that a directory was given to; 0 is none. NotFound when the directory is gone.
func Project(dir string) (uint32, error) {
	f, err := os.Open(dir)
	if errors.Is(err, os.ErrNotExist) {
		return 0, fmt.Errorf("find project: %w: %w", errdefs.ErrNotFound, err)
	}
	if err != nil {
		return 0, fmt.Errorf("find project: %w", err)
	}
	defer f.Close()
	attrs, err := attributes(f)
	if err != nil {
		return 0, fmt.Errorf("find project of %s: %w", dir, err)
	}
	return attrs.project, nil
}

// Bound changes the bounds of a project on the filesystem of dir. What it has already stays.
func Bound(dir string, project uint32, l Limit) error {
	f, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("bound project: %w", err)
	}
	defer f.Close()
	if err := bound(f, project, l); err != nil {
		return fmt.Errorf("bound project %d: %w", project, err)
	}
	return nil
}

// Used is what a project has on the filesystem of dir, and its bounds.
func Used(dir string, project uint32) (used, bounds Limit, err error) {
	f, err := os.Open(dir)
	if err != nil {
		return Limit{}, Limit{}, fmt.Errorf("read project: %w", err)
	}
	defer f.Close()
	b, err := block(f, project)
	if err != nil {
		return Limit{}, Limit{}, fmt.Errorf("read project %d: %w", project, err)
	}
	return Limit{int64(b.space), int64(b.inodes)}, Limit{int64(b.hardBlocks) * blockSize, int64(b.hardInodes)}, nil
}
