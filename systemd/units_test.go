package systemd_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/dynod/dynod/test/lab"
)

// others are units that ours name or get by default; empty ones do for a check.
var others = []string{
	"sysinit.target", "basic.target", "shutdown.target", "slices.target", "network.target", "network-online.target", "sockets.target", "multi-user.target",
	"containerd.service",
}

// units are ours, and what we add to others'.
var units = []string{"dynod.service", "dynod.socket", "dynod-capture.service", "dynos.service", "dynos.slice"}

func TestUnitsAreValid(t *testing.T) {
	root := install(t)
	cmd := exec.CommandContext(t.Context(), "systemd-analyze", append([]string{"verify", "--man=no", "--root=" + root, "containerd.service", "system.slice"}, units...)...)
	if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("systemd-analyze verify: %v\n%s", err, out)
	}
}

// TestExposure holds the services to what systemd-analyze makes of their sandboxes: 0 is closed, 100 open.
func TestExposure(t *testing.T) {
	root := install(t)
	for unit, most := range map[string]string{"dynod.service": "56", "dynod-capture.service": "20"} {
		cmd := exec.CommandContext(t.Context(), "systemd-analyze", "security", "--no-pager", "--offline=true", "--threshold="+most, "--root="+root, unit)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", unit, err, out)
		}
	}
}

// TestMountsReachTheHost: a mount namespace of its own would keep what the agent mounts from containerd.
func TestMountsReachTheHost(t *testing.T) {
	content := read(t, "dynod.service")
	for _, option := range []string{
		"ProtectSystem", "ProtectHome", "ProtectKernelTunables", "ProtectKernelModules", "ProtectKernelLogs", "ProtectControlGroups", "ProtectProc",
		"ProcSubset", "PrivateTmp", "PrivateDevices", "PrivateMounts", "PrivateNetwork", "PrivateUsers", "MountFlags", "ReadOnlyPaths", "ReadWritePaths",
		"InaccessiblePaths", "BindPaths", "TemporaryFileSystem", "RootDirectory", "DynamicUser",
	} {
		if strings.Contains(content, "\n"+option+"=") {
			t.Errorf("dynod.service has %s", option)
		}
	}
}

// TestAgentWaitsForTheNetwork: After= alone does nothing where nobody else wants the target.
func TestAgentWaitsForTheNetwork(t *testing.T) {
	for _, option := range []string{"Wants", "After"} {
		if !regexp.MustCompile(`(?m)^` + option + `=.*\bnetwork-online\.target\b`).MatchString(read(t, "dynod.service")) {
			t.Errorf("dynod.service lacks network-online.target in %s=", option)
		}
	}
}

// TestConfigurationErrorsAreFinal: their statuses are those of package main.
func TestConfigurationErrorsAreFinal(t *testing.T) {
	for _, unit := range []string{"dynod.service", "dynod-capture.service"} {
		if !strings.Contains(read(t, unit), "\nRestart=always\n") || !strings.Contains(read(t, unit), "\nRestartPreventExitStatus=64 78\n") {
			t.Errorf("%s is not always started again, or is after status 64 or 78", unit)
		}
	}
}

// install lays our units beside stand-ins for others in a scratch root.
func install(t *testing.T) string {
	t.Helper()
	lab.Root(t)
	root := t.TempDir()
	for _, program := range []string{"usr/bin/dynod", "usr/bin/containerd", "bin/kill", "bin/sh"} {
		write(t, root, program, "#!/bin/true\n", 0o755)
	}
	for _, name := range others {
		content := "[Unit]\nDescription=" + name + "\n"
		if filepath.Ext(name) == ".service" {
			content += "[Service]\nExecStart=/usr/bin/containerd\n"
		}
		write(t, root, "usr/lib/systemd/system/"+name, content, 0o644)
	}
	for _, name := range append([]string{"containerd.service.d/dynod.conf", "system.slice.d/dynod.conf"}, units...) {
		write(t, root, "usr/lib/systemd/system/"+name, read(t, name), 0o644)
	}
	return root
}

func read(t *testing.T, name string) string {
	t.Helper()
	content, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

func write(t *testing.T, root, name, content string, mode os.FileMode) {
	t.Helper()
	path := filepath.Join(root, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), mode); err != nil {
		t.Fatal(err)
	}
}
