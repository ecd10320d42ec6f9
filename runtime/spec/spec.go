// Package spec writes the OCI runtime specification of a dyno. It starts from nothing, not from the defaults of a
// client library: what is not written here, a dyno does not have.
//
// It does no I/O and takes nothing from an image. The specification lies on disk in containerd's database, so it
// holds what every dyno of its kind has, and nothing of an order's environment or command.
package spec

import (
	"path/filepath"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/dynod/dynod/runtime/launch"
)

const (
	// UID is the user and group of a dyno's processes, inside.
	UID = 1000
	// IDs is how many user and group ids a dyno's user namespace has.
	IDs = 65536
	// Init is where dyno-init is inside; the root filesystem has it.
	Init = "/dyno-init"
	// version is the newest that every supported OCI runtime accepts; crun 1.8 refuses later ones.
	version = "1.0.2"
	// shim is the annotation by which containers share a shim: those with the same value do.
	shim = "io.containerd.runc.v2.group"
	// oomScore makes the kernel prefer a dyno to everything of the host when the host itself runs out of memory.
	oomScore = 500
)

// Dyno is what differs between dynos. All paths are the host's.
type Dyno struct {
	Shim       string // name of the shim; dynos with the same share one
	Rootfs     string // mounted root filesystem
	Launch     string // directory with the agent's socket
	Sysfs      string // a sysfs mount that belongs to the network namespace; empty: no /sys
	Cgroupfs   string // directory that stands in for /sys/fs/cgroup; empty: none
	Namespace  string // network namespace; empty: a new one without any interface
	Hostname   string
	CgroupPath string
	ReadOnly   bool     // the root filesystem
	Writable   []string // directories of the root filesystem that stay writable, if it is read-only
	FirstID    uint32   // host id of the dyno's id 0
	Mapped     bool     // whether the dyno has a user namespace
	Limits     Limits
}

// initEnv keeps dyno-init small, on hosts with many CPUs too. Its commands do not see it.
var initEnv = []string{"GOMAXPROCS=1"}

// Build writes the specification.
func Build(d Dyno) *specs.Spec {
	return &specs.Spec{
		Version:     version,
		Root:        &specs.Root{Path: d.Rootfs, Readonly: d.ReadOnly},
		Hostname:    d.Hostname,
		Process:     process(),
		Mounts:      mounts(d),
		Linux:       linux(d),
		Annotations: map[string]string{shim: d.Shim},
	}
}

func process() *specs.Process {
	score := oomScore
	return &specs.Process{
		User:            specs.User{UID: UID, GID: UID},
		Args:            []string{Init},
		Env:             initEnv,
		Cwd:             "/",
		Capabilities:    &specs.LinuxCapabilities{},
		NoNewPrivileges: true,
		OOMScoreAdj:     &score,
		Rlimits:         []specs.POSIXRlimit{{Type: "RLIMIT_CORE"}},
	}
}

func linux(d Dyno) *specs.Linux {
	l := &specs.Linux{
		CgroupsPath:   d.CgroupPath,
		Resources:     d.Limits.resources(),
		Namespaces:    namespaces(d),
		Seccomp:       Seccomp(),
		MaskedPaths:   masked,
		ReadonlyPaths: readonly,
	}
	if d.Mapped {
		ids := []specs.LinuxIDMapping{{HostID: d.FirstID, Size: IDs}}
		l.UIDMappings, l.GIDMappings = ids, ids
	}
	return l
}

func namespaces(d Dyno) []specs.LinuxNamespace {
	all := []specs.LinuxNamespace{
		{Type: specs.PIDNamespace},
		{Type: specs.IPCNamespace},
		{Type: specs.UTSNamespace},
		{Type: specs.MountNamespace},
		{Type: specs.CgroupNamespace},
		{Type: specs.NetworkNamespace, Path: d.Namespace},
	}
	if d.Mapped {
		all = append(all, specs.LinuxNamespace{Type: specs.UserNamespace})
	}
	return all
}

// masked and readonly name what of /proc and /sys tells about or acts on the host even without privileges.
var (
	masked = []string{
		"/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
		"/proc/sched_debug", "/proc/scsi", "/proc/timer_list", "/proc/timer_stats",
		"/sys/devices/virtual/powercap", "/sys/firmware",
	}
	readonly = []string{"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"}
)

func mounts(d Dyno) []specs.Mount {
	all := []specs.Mount{
		{Destination: "/proc", Type: "proc", Source: "proc", Options: []string{"nosuid", "noexec", "nodev"}},
		{Destination: "/dev", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "strictatime", "mode=755", "size=64k"}},
		{Destination: "/dev/pts", Type: "devpts", Source: "devpts", Options: []string{"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"}},
		{Destination: "/dev/shm", Type: "tmpfs", Source: "shm", Options: []string{"nosuid", "noexec", "nodev", "mode=1777", "size=64m"}},
	}
	for _, dir := range d.Writable {
		all = append(all, bind(filepath.Join(d.Rootfs, dir), dir, "nosuid", "nodev"))
	}
	if d.Sysfs != "" {
		all = append(all, bind(d.Sysfs, "/sys", "ro", "nosuid", "noexec", "nodev"))
	}
	if d.Sysfs != "" && d.Cgroupfs != "" {
		all = append(all, bind(d.Cgroupfs, "/sys/fs/cgroup", "ro", "nosuid", "noexec", "nodev"))
	}
	return append(all, bind(d.Launch, launch.Dir, "ro", "nosuid", "noexec", "nodev"))
}

func bind(source, destination string, options ...string) specs.Mount {
	return specs.Mount{Destination: destination, Type: "bind", Source: source, Options: append([]string{"bind"}, options...)}
}
