// Package ami_test holds the template of machine images to the tools that read it. No image is made here.
package ami_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

const dir = "../../packaging/ami"

// newer is what the packer of Debian 12 does not know yet.
var newer = regexp.MustCompile(`(?s)\n  imds_support *= "v2\.0"\n  metadata_options \{[^}]*http_tokens *= "required"[^}]*\}\n`)

func need(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("needs packer, shellcheck and containerd: not under -short")
	}
}

func run(t *testing.T, argv ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), argv[0], argv[1:]...)
	cmd.Env = append(os.Environ(), "CHECKPOINT_DISABLE=1", "PACKER_CONFIG_DIR="+t.TempDir())
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("%s: %v\n%s", strings.Join(argv, " "), err, out)
	}
	return string(out)
}

func read(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// Packer itself looks at every source and step, with all that it knows of a source.
func TestTemplate(t *testing.T) {
	need(t)
	text := read(t, "dynod.pkr.hcl")
	if found := len(newer.FindAllString(text, -1)); found != strings.Count(text, "\nsource ") {
		t.Errorf("%d sources of %d insist on version 2 of the metadata service", found, strings.Count(text, "\nsource "))
	}
	copied, input := t.TempDir(), t.TempDir()
	if err := os.CopyFS(copied, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(copied, "plugins.pkr.hcl")); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(copied, "dynod.pkr.hcl"), []byte(newer.ReplaceAllString(text, "\n")), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, arch := range []string{"amd64", "arm64"} {
		run(t, "packer", "validate", "-var", "region=eu-west-1", "-var", "input="+input, "-var", "arch="+arch, copied)
	}
}

func TestScript(t *testing.T) {
	need(t)
	run(t, "shellcheck", filepath.Join(dir, "provision.sh"))
}

func TestContainerdReadsItsConfiguration(t *testing.T) {
	need(t)
	said := run(t, "containerd", "--config", filepath.Join(dir, "files/containerd.toml"), "config", "dump")
	if want := `"io.containerd.timeout.shim.load" = "1m"`; !strings.Contains(said, want) {
		t.Errorf("got %s, want %s in it", said, want)
	}
}

// Every setting is one that the kernel has.
func TestSysctl(t *testing.T) {
	need(t)
	setting := regexp.MustCompile(`^([a-z0-9_.]+) = ([0-9]+)$`)
	for line := range strings.Lines(read(t, "files/sysctl.conf")) {
		line = strings.TrimSuffix(line, "\n")
		if line == "" || line[0] == '#' {
			continue
		}
		m := setting.FindStringSubmatch(line)
		if m == nil {
			t.Errorf("%q is no setting", line)
			continue
		}
		if _, err := os.Stat(filepath.Join("/proc/sys", strings.ReplaceAll(m[1], ".", "/"))); err != nil {
			t.Errorf("%s: %v", m[1], err)
		}
	}
}
