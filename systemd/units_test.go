package systemd_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/dynod/dynod/test/lab"
)

// others are units that ours name or get by default; empty ones do for a check.
var others = []string{
	"sysinit.target", "basic.target", "shutdown.target", "slices.target", "network.target", "multi-user.target", "containerd.service",
}

func TestUnitsAreValid(t *testing.T) {
	lab.Root(t)
	root := t.TempDir()
	write(t, root, "usr/bin/dynod", "#!/bin/true\n", 0o755)
	write(t, root, "usr/bin/containerd", "#!/bin/true\n", 0o755)
	for _, name := range others {
		content := "[Unit]\nDescription=" + name + "\n"
		if filepath.Ext(name) == ".service" {
			content += "[Service]\nExecStart=/usr/bin/containerd\n"
		}
		write(t, root, "usr/lib/systemd/system/"+name, content, 0o644)
	}
	units := []string{"dynod.service", "dynod-capture.service", "dynos.slice"}
	for _, unit := range units {
		content, err := os.ReadFile(unit)
		if err != nil {
			t.Fatal(err)
		}
		write(t, root, "usr/lib/systemd/system/"+unit, string(content), 0o644)
	}

	cmd := exec.CommandContext(t.Context(), "systemd-analyze", append([]string{"verify", "--man=no", "--root=" + root}, units...)...)
	if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("systemd-analyze verify: %v\n%s", err, out)
	}
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
