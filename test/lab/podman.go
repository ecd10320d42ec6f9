package lab

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
)

// Podman is a podman of the lab: the machine's program with its files below the lab and its networks in the lab's
// host. What it keeps in fixed places, such as /run and /var/lib/cni, lies in a mount namespace of its own.
type Podman struct {
	lab    *Lab
	holder *exec.Cmd // keeps the mount namespace
}

// podmanHome covers what is fixed, says so, and waits.
const podmanHome = `set -e
mkdir -p /run /dev/shm "$0/cni" /var/lib/cni
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs /dev/shm
mount --bind "$0/cni" /var/lib/cni
echo ready
exec sleep infinity`

// Podman makes that namespace.
func (l *Lab) Podman() (*Podman, error) {
	dir := filepath.Join(l.dir, "podman")
	if err := os.MkdirAll(dir, 0o711); err != nil {
		return nil, err
	}
	p := &Podman{lab: l, holder: l.Command(l.Host(), "unshare", "--mount", "--propagation", "private", "sh", "-c", podmanHome, dir)}
	out, err := p.holder.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := p.holder.Start(); err != nil {
		return nil, fmt.Errorf("start podman's home: %w", err)
	}
	if n, err := out.Read(make([]byte, 16)); n == 0 {
		return nil, fmt.Errorf("make podman's home: %w, %w", err, p.holder.Wait())
	}
	return p, nil
}

// Command is the client, in podman's home.
func (p *Podman) Command(args ...string) *exec.Cmd {
	dir := filepath.Join(p.lab.dir, "podman")
	return p.lab.Command("", append([]string{
		"nsenter", "--target", strconv.Itoa(p.holder.Process.Pid), "--mount", "--net", "--",
		"podman", "--root", filepath.Join(dir, "root"), "--runroot", "/run/podman", "--tmpdir", "/run/libpod",
		"--cgroup-manager", "cgroupfs", "--events-backend", "file", "--runtime", "runc",
	}, args...)...)
}

// RunOptions keep a container below the lab, and in need of no more open files than the machine may give.
func (p *Podman) RunOptions() []string {
	return []string{"--cgroup-parent", p.lab.CgroupParent(), "--log-driver", "k8s-file", "--ulimit", "nofile=1024:1024", "--ulimit", "nproc=4096:4096"}
}
