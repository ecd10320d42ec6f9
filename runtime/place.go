package runtime

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/dynod/dynod/runtime/cgroup"
	"github.com/dynod/dynod/runtime/spec"
)

// unlimited is the memory limit in bytes that cgroup v1 shows when there is none.
const unlimited = 0x7ffffffffffff000

// appDir and temporary are the directories of a slug dyno that are not the stack's.
const appDir = "/app"

var temporary = []string{"/tmp", "/var/tmp"}

// place is where the things of one dyno lie.
type place struct {
	container string // its name in containerd
	run       string // on tmpfs; it belongs to the dyno's first id, which so is known as long as the dyno exists
	disk      string
}

// place finds what a dyno has. All but run is named by its container, which may have been made before the dyno.
func (r *Runtime) place(id string) place {
	p := place{run: filepath.Join(r.config.RunDir, id)}
	p.container = or(p.link(assigned), or(p.link(spare), id))
	p.disk = filepath.Join(r.config.Dir, "dynos", p.container)
	return p
}

// container is the name of a dyno's container.
func (r *Runtime) container(id string) string { return r.place(id).container }

func (r *Runtime) group(id string) cgroup.Group {
	return r.cgroups.Group(filepath.Join(r.config.CgroupParent, r.container(id)))
}

// used says whether anything of the dyno is here, or may be: its directories are the last to go.
func (p place) used() bool {
	for _, dir := range []string{p.run, p.disk} {
		if _, err := os.Lstat(dir); !errors.Is(err, os.ErrNotExist) {
			return true
		}
	}
	return false
}

// Names of the link that a container made ahead has in its place, to its own name.
const (
	spare    = "spare"    // it waits for a dyno, or has not all of one yet
	assigned = "assigned" // it is a dyno's
)

// link is where a link leads to; empty if there is none.
func (p place) link(name string) string {
	to, err := os.Readlink(filepath.Join(p.run, name))
	if err != nil || check(to) != nil {
		return ""
	}
	return to
}

// spare says whether what is here is no whole dyno's.
func (p place) spare() bool { return p.link(spare) != "" }

func (p place) rootfs() string   { return filepath.Join(p.run, "rootfs") }
func (p place) scratch() string  { return filepath.Join(p.run, "layers") }
func (p place) launch() string   { return filepath.Join(p.run, "launch") }
func (p place) cgroupfs() string { return filepath.Join(p.run, "cgroup") }
func (p place) upper() string    { return filepath.Join(p.disk, "upper") }
func (p place) work() string     { return filepath.Join(p.disk, "work") }

// A container made ahead has its app in a tree of its own.
func (p place) app() string      { return filepath.Join(p.run, "app") }
func (p place) appUpper() string { return filepath.Join(p.disk, "app") }
func (p place) appWork() string  { return filepath.Join(p.disk, "app-work") }

// firstID is the host id of the dyno's id 0.
func (p place) firstID() (int, error) {
	var stat unix.Stat_t
	if err := unix.Lstat(p.run, &stat); err != nil {
		return 0, err
	}
	return int(stat.Uid), nil
}

// entry is a file or directory that a dyno starts with.
type entry struct {
	path  string
	mode  os.FileMode
	owner int // inside
	data  []byte
}

// make fills the place before the root filesystem is mounted. The upper directory gets its entries while it is only a
// directory: no link in an image can lead a write elsewhere.
func (p place) make(c Container, first int) error {
	dirs := []entry{
		{path: p.run, mode: 0o700},
		{path: p.rootfs(), mode: 0o755},
		{path: p.scratch(), mode: 0o700},
		{path: p.launch(), mode: 0o755},
		{path: p.cgroupfs(), mode: 0o755},
		{path: filepath.Join(p.cgroupfs(), "memory"), mode: 0o755},
		{path: p.disk, mode: 0o700},
		{path: p.upper(), mode: 0o755},
		{path: p.work(), mode: 0o700},
	}
	for _, dir := range upperDirs(c) {
		dir.path = filepath.Join(p.upper(), dir.path)
		dirs = append(dirs, dir)
	}
	for _, dir := range dirs {
		if err := dir.makeDir(first); err != nil {
			return err
		}
	}
	for _, file := range append(p.files(), p.private(c, p.upper())...) {
		if err := file.makeFile(first); err != nil {
			return err
		}
	}
	return nil
}

func upperDirs(c Container) []entry {
	var dirs []entry
	for _, name := range []string{"dev", "proc", "sys", "run", "run/dyno", "etc", "var"} {
		dirs = append(dirs, entry{path: name, mode: 0o755})
	}
	if c.About != nil {
		dirs = append(dirs, entry{path: "etc/heroku", mode: 0o755})
	}
	return append(dirs,
		entry{path: "tmp", mode: 0o777 | os.ModeSticky}, entry{path: "var/tmp", mode: 0o777 | os.ModeSticky},
		appEntry("app"))
}

// appEntry is the app's directory: its user's.
func appEntry(path string) entry { return entry{path: path, mode: 0o755, owner: spec.UID} }

// files are what every dyno has of its own.
func (p place) files() []entry {
	return []entry{
		{path: filepath.Join(p.upper(), "etc", "passwd"), mode: 0o644, data: []byte(passwd)},
		{path: filepath.Join(p.upper(), "etc", "group"), mode: 0o644, data: []byte(group)},
	}
}

// private are the files that differ from dyno to dyno, below a root: those in /etc, and the memory quota where programs
// look for it on either version of cgroups.
func (p place) private(c Container, root string) []entry {
	etc := filepath.Join(root, "etc")
	limit := strconv.FormatInt(or(c.Limits.Memory, unlimited), 10) + "\n"
	files := []entry{
		{path: filepath.Join(etc, "hosts"), mode: 0o644, data: c.Hosts},
		{path: filepath.Join(etc, "resolv.conf"), mode: 0o644, data: c.Resolv},
		{path: filepath.Join(etc, "hostname"), mode: 0o644, data: []byte(c.Hostname + "\n")},
		{path: filepath.Join(p.cgroupfs(), "memory", "memory.limit_in_bytes"), mode: 0o444, data: []byte(limit)},
		{path: filepath.Join(p.cgroupfs(), "memory.max"), mode: 0o444, data: []byte(limit)},
	}
	if c.About != nil {
		files = append(files, entry{path: filepath.Join(etc, "heroku", "dyno"), mode: 0o644, data: c.About})
	}
	return files
}

// The users and groups of every dyno.
const (
	passwd = `root:x:0:0:root:/root:/bin/sh
dyno:x:1000:1000:dyno:/app:/bin/sh
nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin
`
	group = `root:x:0:
tty:x:5:
dyno:x:1000:
nogroup:x:65534:
`
)

func (e entry) makeDir(first int) error {
	if err := os.MkdirAll(e.path, 0o700); err != nil {
		return err
	}
	return e.own(first)
}

func (e entry) makeFile(first int) error {
	if err := e.write(os.O_CREATE); err != nil {
		return err
	}
	return e.own(first)
}

// write goes through no link. The file must be there unless it is to be created.
func (e entry) write(create int) error {
	f, err := os.OpenFile(e.path, os.O_WRONLY|create|os.O_TRUNC|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(e.data)
	return errors.Join(err, f.Close())
}

// own gives the entry away first: changing the owner would take bits off its mode.
func (e entry) own(first int) error {
	if err := os.Chown(e.path, first+e.owner, first+e.owner); err != nil {
		return fmt.Errorf("give %s to the dyno: %w", e.path, err)
	}
	return os.Chmod(e.path, e.mode)
}
