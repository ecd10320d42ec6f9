package packages_test

import (
	"bytes"
	"debug/buildinfo"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dynod/dynod/test/lab"
)

func TestDebianFindsNothing(t *testing.T) {
	cmd := command(t, 5*time.Minute, "lintian", packages(t, deb, "amd64", "arm64")...)
	var complaints bytes.Buffer // on standard error it says that root should not run it
	cmd.Stdout = &complaints
	if err := cmd.Run(); err != nil || complaints.Len() > 0 {
		t.Errorf("lintian: %v\n%s", err, &complaints)
	}
}

func TestRPMFindsNothing(t *testing.T) {
	all := packages(t, rpm, "x86_64", "aarch64")
	if out := output(t, "rpmlint", append([]string{"--config", "../../packaging/rpmlint.toml", "--strict"}, all...)...); !strings.Contains(out, " 0 errors, 0 warnings") {
		t.Error(out)
	}
	for _, file := range all {
		if out := output(t, "rpm", "--checksig", "--nosignature", file); !strings.HasSuffix(out, ": digests OK\n") {
			t.Error(out)
		}
		flags := output(t, "rpm", "--query", "--package", "--queryformat", `[%{FILEFLAGS:fflags} %{FILENAMES}\n]`, file)
		if !strings.Contains(flags, "cn /etc/dynod/config.toml\n") {
			t.Errorf("%s: the configuration would be replaced: got\n%s", file, flags)
		}
	}
}

func TestScripts(t *testing.T) {
	lab.Root(t)
	scripts, err := filepath.Glob("../../packaging/scripts/*")
	if err != nil || len(scripts) != 6 {
		t.Fatalf("got %q, %v; want three for each format", scripts, err)
	}
	output(t, "shellcheck", append([]string{"--shell=sh"}, scripts...)...)
	output(t, "shellcheck", "../../packaging/build.sh", "../../packaging/version.sh")
}

// unpacked is what the deb of this machine's kind brings.
func unpacked(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	output(t, "dpkg-deb", "--extract", packages(t, deb, "amd64")[0], dir)
	return dir
}

func TestManPages(t *testing.T) {
	dir := unpacked(t)
	pages, err := filepath.Glob(filepath.Join(dir, "usr/share/man/man?/*.gz"))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, page := range pages {
		names = append(names, strings.TrimSuffix(filepath.Base(page), ".gz"))
		cmd := command(t, time.Minute, "man", "--warnings", "-E", "UTF-8", "-l", "-Tutf8", "-Z", page)
		var warnings bytes.Buffer
		cmd.Stderr = &warnings
		if err := cmd.Run(); err != nil || warnings.Len() > 0 {
			t.Errorf("%s: %v\n%s", page, err, &warnings)
		}
	}
	for _, name := range []string{"dynod.8", "dynod-capture.8", "dynoctl.1", "dynoctl-ps.1", "dynoctl-drain.1", "dynod.toml.5"} {
		if !slices.Contains(names, name) {
			t.Errorf("no %s in %q", name, names)
		}
	}
	if text := output(t, "man", "-l", filepath.Join(dir, "usr/share/man/man5/dynod.toml.5.gz")); !strings.Contains(text, "sample_interval") {
		t.Errorf("a setting is missing in\n%s", text)
	}
}

func TestCompletions(t *testing.T) {
	dir := unpacked(t)
	output(t, "bash", "-ec", `. "$1"; complete -p dynoctl`, "bash", filepath.Join(dir, "usr/share/bash-completion/completions/dynoctl"))
	for path, want := range map[string]string{
		"usr/share/zsh/vendor-completions/_dynoctl":        "#compdef dynoctl",
		"usr/share/fish/vendor_completions.d/dynoctl.fish": "complete -c dynoctl",
	} {
		if content, err := os.ReadFile(filepath.Join(dir, path)); err != nil || !bytes.Contains(content, []byte(want)) {
			t.Errorf("%s: %v, want %q in it", path, err, want)
		}
	}
}

// The bill names what the linker says is in the program.
func TestBills(t *testing.T) {
	dir := unpacked(t)
	for program, path := range map[string]string{
		"dynod": "usr/bin/dynod", "dynoctl": "usr/bin/dynoctl", "dyno-init": "usr/libexec/dynod/dyno-init",
	} {
		info, err := buildinfo.ReadFile(filepath.Join(dir, path))
		if err != nil {
			t.Fatal(err)
		}
		want := []string{"std@" + info.GoVersion}
		for _, module := range info.Deps {
			want = append(want, module.Path+"@"+module.Version)
		}
		slices.Sort(want)
		if diff := cmp.Diff(want, billed(t, filepath.Join(dir, "usr/share/doc/dynod/sbom", program+".cdx.json"))); diff != "" {
			t.Errorf("%s (-linked +billed):\n%s", program, diff)
		}
	}
}

func billed(t *testing.T, path string) (all []string) {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var bill struct {
		BOMFormat  string
		Components []struct{ Name, Version string }
	}
	if err := json.Unmarshal(content, &bill); err != nil || bill.BOMFormat != "CycloneDX" {
		t.Fatalf("%s: got format %q, %v", path, bill.BOMFormat, err)
	}
	for _, c := range bill.Components {
		all = append(all, c.Name+"@"+c.Version)
	}
	slices.Sort(all)
	return all
}
