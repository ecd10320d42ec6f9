package doctor

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"

	units "github.com/docker/go-units"
	"github.com/prometheus/procfs"
	"golang.org/x/sys/unix"

	"github.com/dynod/dynod/cmd/dynod/config"
	"github.com/dynod/dynod/cmd/dynod/doctor/report"
	"github.com/dynod/dynod/runtime"
)

// fewFiles is the least part of a file system's files that should be free, percent.
const fewFiles = 5

func (h Host) disk(_ context.Context, n *report.Notes) {
	h.checkFree(n, "state_dir", h.Config.StateDir)
	if filepath.Dir(h.Config.SpoolDir) != h.Config.StateDir {
		h.checkFree(n, "spool_dir", h.Config.SpoolDir)
	}
	quota, err := runtime.FindDiskQuota(standing(h.Config.StateDir))
	if err != nil {
		n.Fail("", "%v", err)
	}
	for _, w := range Quotas(h.Config, quota) {
		n.Warn("mount it with prjquota; ext4 needs tune2fs -O project,quota before", "%s", w)
	}
	if err := config.CheckTmpfs(standing(h.Config.RunDir)); err != nil {
		n.Fail("", "%v", err)
	}
	for _, dir := range []string{h.Config.StateDir, h.Config.RunDir} {
		checkPassable(n, dir)
	}
}

func (h Host) checkFree(n *report.Notes, setting, dir string) {
	var fs unix.Statfs_t
	at := standing(dir)
	if err := unix.Statfs(at, &fs); err != nil {
		n.Fail("", "%s: %s: %v", setting, at, err)
		return
	}
	free, all := int64(fs.Bavail)*fs.Bsize, int64(fs.Blocks)*fs.Bsize
	kind := kindOf(at)
	room := "make room, or give it a disk of its own"
	switch {
	case free < h.Config.Logs.ReserveBytes:
		n.Fail(room, "%s: %s has %s free, less than logs.reserve_bytes: output of dynos is dropped", setting, at, units.BytesSize(float64(free)))
	case fs.Files > 0 && fs.Ffree == 0:
		n.Fail(room, "%s: %s has no free inodes", setting, at)
	case free*100 < all*int64(h.Config.Artifacts.MinFreePercent):
		n.Warn(room, "%s: %s has %d%% free, less than artifacts.min_free_percent", setting, at, free*100/all)
	case fs.Ffree*100 < fs.Files*fewFiles:
		n.Warn(room, "%s: %s has %d%% of its inodes free", setting, at, fs.Ffree*100/fs.Files)
	case kind == "tmpfs" || kind == "overlay":
		n.Warn("give it a disk", "%s: %s is on %s: what must survive a reboot may not, and dynos may not start", setting, at, kind)
	default:
		n.OK("%s: %s has %s free on %s", setting, at, units.BytesSize(float64(free)), kind)
	}
}

// kindOf is the type of the file system at a path, as the kernel names it.
func kindOf(path string) (kind string) {
	mounts, err := procfs.GetMounts()
	if err != nil {
		return "an unknown file system"
	}
	longest := 0
	for _, m := range mounts { // the last one at a place is the one that is seen
		below := m.MountPoint == "/" || path == m.MountPoint || strings.HasPrefix(path, m.MountPoint+"/")
		if below && len(m.MountPoint) >= longest {
			kind, longest = m.FSType, len(m.MountPoint)
		}
	}
	return kind
}

// checkPassable: dynos reach their files by these directories as users of their own.
func checkPassable(n *report.Notes, dir string) {
	for at := dir; ; at = filepath.Dir(at) {
		info, err := os.Stat(at)
		switch {
		case err == nil && info.Mode().Perm()&0o001 == 0:
			n.Fail("chmod o+x "+at, "%s: users of dynos cannot pass through %s", dir, at)
		case err != nil && !errors.Is(err, os.ErrNotExist): // the agent makes it
			n.Fail("", "%v", err)
		}
		if at == filepath.Dir(at) {
			return
		}
	}
}
