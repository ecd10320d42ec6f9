package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// Docker is a dockerd of the lab: unpacked from Debian's package and not installed, on the lab's containerd, without a
// network and with everything below the lab.
type Docker struct {
	lab    *Lab
	root   string // what was unpacked
	daemon *exec.Cmd
}

// Docker starts it and waits until it answers.
func (l *Lab) Docker(ctx context.Context) (*Docker, error) {
	root, err := Cached("docker", func(path string) error {
		return errors.Join(unpackPackage(ctx, path, "docker.io"), unpackPackage(ctx, path, "libdevmapper1.02.1"))
	})
	if err != nil {
		return nil, err
	}
	containerd, err := l.Containerd(ctx)
	if err != nil {
		return nil, err
	}
	d := &Docker{lab: l, root: root}
	below := func(name string) string { return filepath.Join(l.dir, "docker", name) }
	d.daemon = d.command("usr/sbin/dockerd", "--host", d.address(), "--containerd", containerd,
		"--data-root", below("data"), "--exec-root", filepath.Join(l.Run(), "docker"), "--pidfile", filepath.Join(l.Run(), "docker.pid"),
		"--bridge", "none", "--iptables=false", "--ip6tables=false", "--ip-forward=false", "--ip-masq=false", "--userland-proxy=false",
		"--cgroup-parent", l.CgroupParent(), "--log-level", "warn")
	if err := os.MkdirAll(below("data"), 0o711); err != nil {
		return nil, err
	}
	log, err := os.Create(below("log"))
	if err != nil {
		return nil, err
	}
	defer log.Close()
	d.daemon.Stdout, d.daemon.Stderr = log, log
	if err := d.daemon.Start(); err != nil {
		return nil, fmt.Errorf("start dockerd: %w", err)
	}
	return d, d.ready(ctx)
}

func (d *Docker) address() string { return "unix://" + filepath.Join(d.lab.Run(), "docker.sock") }

func (d *Docker) command(program string, args ...string) *exec.Cmd {
	cmd := d.lab.Command(d.lab.Host(), append([]string{filepath.Join(d.root, program)}, args...)...)
	cmd.Env = append(cmd.Env, "LD_LIBRARY_PATH="+filepath.Join(d.root, "lib/x86_64-linux-gnu"), "HOME="+d.lab.dir)
	return cmd
}

func (d *Docker) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, containerdStart)
	defer cancel()
	for {
		_, err := d.Run(ctx, "version")
		if err == nil {
			return nil
		}
		select {
		case <-time.After(5 * pollEvery):
		case <-ctx.Done():
			data, _ := os.ReadFile(filepath.Join(d.lab.dir, "docker", "log"))
			return fmt.Errorf("wait for dockerd: %w\n%s", err, data)
		}
	}
}

// Run runs the client and returns what it wrote.
func (d *Docker) Run(ctx context.Context, args ...string) (string, error) {
	cmd := d.command("usr/bin/docker", append([]string{"--host", d.address()}, args...)...)
	var out, bad strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &bad
	if err := cmd.Start(); err != nil {
		return "", fmt.Errorf("start docker: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { _ = cmd.Process.Kill() })
	defer stop()
	if err := cmd.Wait(); err != nil {
		return "", fmt.Errorf("docker %s: %w: %s", args[0], err, bad.String())
	}
	return strings.TrimSpace(out.String()), nil
}

// Inspect is what Docker knows of a container.
func (d *Docker) Inspect(ctx context.Context, id string) (pid int, logFile string, err error) {
	out, err := d.Run(ctx, "inspect", id)
	if err != nil {
		return 0, "", err
	}
	var found []struct {
		State   struct{ Pid int }
		LogPath string
	}
	if err := json.Unmarshal([]byte(out), &found); err != nil || len(found) != 1 {
		return 0, "", fmt.Errorf("inspect %s: %d found, %w", id, len(found), err)
	}
	return found[0].State.Pid, found[0].LogPath, nil
}

// Close ends the daemon and with it its containers' keeper; the containers end with the lab.
func (d *Docker) Close() error {
	_ = d.daemon.Process.Kill()
	_ = d.daemon.Wait()
	return nil
}
