package slugs_test

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// topdir is FS_TOPDIR_FL: the directories in this one have nothing to do with one another.
const topdir = 0x20000

func TestSlugsAreKeptApartOnDisk(t *testing.T) {
	s := newSource(t)
	var fs unix.Statfs_t
	must(t, unix.Statfs(s.dir, &fs))
	if fs.Type != unix.EXT4_SUPER_MAGIC {
		t.Skip("no other file system knows how")
	}
	flags := func(dir string) uint32 {
		f, err := os.Open(dir)
		must(t, err)
		defer f.Close()
		got, err := unix.IoctlGetUint32(int(f.Fd()), unix.FS_IOC_GETFLAGS)
		must(t, err)
		return got
	}
	if got := flags(filepath.Join(s.dir, "slugs")); got&topdir == 0 {
		t.Errorf("flags %#x", got)
	}
	if got := flags(s.dir); got&topdir != 0 {
		t.Errorf("flags %#x of the directory above", got)
	}
}
