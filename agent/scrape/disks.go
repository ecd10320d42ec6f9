package scrape

import (
	"time"

	"golang.org/x/sys/unix"
)

// diskLimit is how long a disk may take to say how full it is.
const diskLimit = time.Second

// disks are looked at by goroutines of their own: one that is sick may not answer, and holds one goroutine then.
type disks map[string]*disk

type disk struct {
	path  string
	asked chan struct{} // has room while nobody asks
}

func newDisks(paths map[string]string) disks {
	all := disks{}
	for name, path := range paths {
		all[name] = &disk{path, make(chan struct{}, 1)}
	}
	return all
}

func (all disks) read(to metrics) {
	for name, d := range all {
		fs := d.ask()
		if fs == nil {
			continue
		}
		to.gauge("dynod_disk_size_bytes", "Size of the disk.", float64(fs.Blocks)*float64(fs.Bsize), "disk", name)
		to.gauge("dynod_disk_free_bytes", "Room left on it. Missing while the disk does not answer.", float64(fs.Bavail)*float64(fs.Bsize), "disk", name)
		to.gauge("dynod_disk_free_files", "Inodes left on it.", float64(fs.Ffree), "disk", name)
	}
}

// ask gives nil when there is no answer in time, or none yet to an earlier question.
func (d *disk) ask() *unix.Statfs_t {
	select {
	case d.asked <- struct{}{}:
	default:
		return nil
	}
	answer := make(chan *unix.Statfs_t, 1)
	go func() {
		defer func() { <-d.asked }()
		fs := &unix.Statfs_t{}
		if unix.Statfs(d.path, fs) != nil {
			fs = nil
		}
		answer <- fs
	}()
	select {
	case fs := <-answer:
		return fs
	case <-time.After(diskLimit):
		return nil
	}
}
