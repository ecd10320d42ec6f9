package runtime

import (
	"context"
	"os"
	"sync"

	"github.com/containerd/errdefs"

	"github.com/dynod/dynod/runtime/quota"
	"github.com/dynod/dynod/runtime/trees"
)

// How the bounds of what dynos write are held.
const (
	DiskQuotaProject = "project" // by project quotas of the filesystem below Config.Dir
	DiskQuotaNone    = "none"    // not at all: it has none
)

const (
	// firstProject is the project of slot 0; others follow. It is far from the small numbers that people choose.
	firstProject = 0x64790000
	// bytesAFile is how much of its disk a dyno has for each file, as filesystems reckon themselves.
	bytesAFile = 16 << 10
	// leastFiles is room for what a dyno starts with and some more.
	leastFiles = 1024
)

// DiskQuota says how disk quotas are held here, as found at the start.
func (r *Runtime) DiskQuota() string { return r.diskQuota }

// FindDiskQuota says how quotas can be held in a directory.
func FindDiskQuota(dir string) (string, error) {
	err := quota.Supported(dir)
	switch {
	case err == nil:
		return DiskQuotaProject, nil
	case errdefs.IsNotImplemented(err):
		return DiskQuotaNone, nil
	}
	return "", err
}

// boundDisk gives the dyno's directory to its slot's project, before anything is in it.
func (r *Runtime) boundDisk(c Container, p place) error {
	if r.diskQuota != DiskQuotaProject {
		return nil
	}
	if err := os.MkdirAll(p.disk, 0o700); err != nil {
		return err
	}
	b := r.bound(project(c.Slot))
	b.mu.Lock()
	defer b.mu.Unlock()
	b.dir = p.disk
	return quota.Assign(p.disk, project(c.Slot), c.Limits.onDisk())
}

// reboundDisk gives a directory that is the slot's project's already the bounds of its dyno.
func (r *Runtime) reboundDisk(c Container, p place) error {
	if r.diskQuota != DiskQuotaProject {
		return nil
	}
	return quota.Bound(p.disk, project(c.Slot), c.Limits.onDisk())
}

func project(slot int) uint32 { return firstProject + uint32(slot) }

func (l Limits) onDisk() quota.Limit {
	limit := quota.Limit{Bytes: l.Disk}
	if limit.Bytes > 0 {
		limit.Files = max(leastFiles, limit.Bytes/bytesAFile)
	}
	return limit
}

// removeDisk removes what the dyno has written, and the bound on it if this process has set that. The bound goes first: as long
// as the directory is there, it says whose it is.
func (r *Runtime) removeDisk(ctx context.Context, p place) error {
	if r.diskQuota == DiskQuotaProject {
		if err := r.unboundDisk(p); err != nil {
			return err
		}
	}
	return trees.Remove(ctx, p.disk)
}

func (r *Runtime) unboundDisk(p place) error {
	project, err := quota.Project(p.disk)
	if errdefs.IsNotFound(err) || err == nil && project < firstProject { // made before there were quotas
		return nil
	}
	if err != nil {
		return err
	}
	b := r.bound(project)
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.dir != p.disk {
		return nil // it is another dyno's, or an earlier process has set it: the slot's next dyno sets its own
	}
	return quota.Bound(p.disk, project, quota.Limit{})
}

// bound is whose directory a project bounds, if this process has set it: an earlier one's remains in the slot may go later than
// the next one's come.
type bound struct {
	mu  sync.Mutex
	dir string
}

func (r *Runtime) bound(project uint32) *bound {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.bounds[project] == nil {
		r.bounds[project] = &bound{}
	}
	return r.bounds[project]
}
