package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	goruntime "runtime"
	"strings"
)

// machine is where it was measured.
type machine struct {
	CPU      string            `json:"cpu"`
	CPUs     int               `json:"cpus"`
	Memory   string            `json:"memory"`
	Kernel   string            `json:"kernel"`
	Cgroups  string            `json:"cgroups"`
	Load     string            `json:"load"` // before it began: timings of a busy machine are worth less
	Versions map[string]string `json:"versions"`
}

func (m machine) String() string {
	return fmt.Sprintf("machine: %d × %s, %s, kernel %s, cgroup %s, load %s; %v", m.CPUs, m.CPU, m.Memory, m.Kernel, m.Cgroups, m.Load, m.Versions)
}

// version is the first word with a digit, where programs and packages say it.
var version = regexp.MustCompile(`[^ \n]*\d[^ \n]*`)

func look(ctx context.Context) (machine, error) {
	m := machine{CPUs: goruntime.NumCPU(), Cgroups: "v1", Versions: map[string]string{}}
	for file, to := range map[string]*string{"/proc/sys/kernel/osrelease": &m.Kernel, "/proc/loadavg": &m.Load} {
		data, err := os.ReadFile(file)
		if err != nil {
			return m, err
		}
		*to = strings.TrimSpace(string(data))
	}
	m.CPU, m.Memory = value("/proc/cpuinfo", "model name"), value("/proc/meminfo", "MemTotal")
	if _, err := os.Stat("/sys/fs/cgroup/cgroup.controllers"); err == nil {
		m.Cgroups = "v2"
	}
	for name, words := range map[string][]string{
		"containerd": {"containerd", "--version"}, "runc": {"runc", "--version"}, "crun": {"crun", "--version"},
		"podman": {"podman", "--version"}, "docker": {"apt-cache", "show", "docker.io"},
		"dynod": {"git", "describe", "--always", "--dirty"},
	} {
		out, err := exec.CommandContext(ctx, words[0], words[1:]...).Output()
		if err != nil {
			return m, fmt.Errorf("ask %s for its version: %w", name, err)
		}
		m.Versions[name] = version.FindString(string(out))
	}
	return m, nil
}

// value is what the first line of a file says after "<name> :".
func value(file, name string) string {
	data, _ := os.ReadFile(file) // unknown is no reason not to measure
	for line := range strings.Lines(string(data)) {
		if key, v, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == name {
			return strings.TrimSpace(v)
		}
	}
	return "unknown"
}
