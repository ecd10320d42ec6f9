package packages_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var enabled = []string{
	"/etc/systemd/system/multi-user.target.wants/dynod.service",
	"/etc/systemd/system/multi-user.target.wants/dynod-capture.service",
	"/etc/systemd/system/sockets.target.wants/dynod.socket",
}

// As packer or debootstrap install it: nothing runs.
func TestInstallsWithoutSystemd(t *testing.T) {
	first := packages(t, deb, "amd64")[0]
	r := newRoot(t)
	before := r.files()
	r.install(first)

	for _, path := range append([]string{"/var/lib/dynod", "/run/dynod"}, enabled...) {
		if !r.exists(path) {
			t.Errorf("no %s after installation", path)
		}
	}
	if got := r.run("dynod", "version"); got != "dynod "+version+"\n" {
		t.Errorf("got %q", got)
	}
	r.run("dynod", "config", "check")
	if init := regexp.MustCompile(`#init = "(.*)"`).FindStringSubmatch(r.run("cat", "/etc/dynod/config.toml")); init == nil || !r.exists(init[1]) {
		t.Errorf("no dyno-init where the agent expects it: %q", init)
	}
	if got := r.verify(); got != "" {
		t.Errorf("systemd-analyze verify: %s", got)
	}

	once := r.files()
	r.run("/var/lib/dpkg/info/dynod.postinst", "configure", "")
	if diff := cmp.Diff(once, r.files()); diff != "" {
		t.Errorf("configured twice (-once +twice):\n%s", diff)
	}

	r.run("dpkg", "--purge", "dynod")
	if diff := cmp.Diff(before, r.files()); diff != "" {
		t.Errorf("left over (-before +after):\n%s", diff)
	}
}

func TestUpgradeRemovePurge(t *testing.T) {
	first := packages(t, deb, "amd64")[0]
	second := newer(t, first)
	r := newRoot(t)
	before := r.files()
	r.boot()

	r.install(first)
	wantCalls(t, r, "systemctl daemon-reload\nsystemctl start dynod.socket dynod-capture.service\nsystemctl restart dynod.service\n")

	// What an operator has set stays.
	r.write("etc/dynod/config.toml", "host.max_dynos = 7\n", 0o644)
	r.write("etc/dynod/conf.d/mine.toml", "host_name = \"mine\"\n", 0o644)
	r.write("var/lib/dynod/dynos/record", "state", 0o600)
	r.install(second)
	wantCalls(t, r, "systemctl daemon-reload\nsystemctl start dynod.socket dynod-capture.service\nsystemctl restart dynod.service\n")
	if got := r.run("cat", "/etc/dynod/config.toml"); got != "host.max_dynos = 7\n" {
		t.Errorf("configuration after the upgrade: %q", got)
	}
	if got := r.run("dpkg-query", "--show", "--showformat", "${Version}", "dynod"); got != "1.3.0-1" {
		t.Errorf("got version %s", got)
	}

	// What is switched off stays so, and a bad configuration costs no agent.
	for _, path := range enabled {
		if err := os.Remove(filepath.Join(r.dir, path)); err != nil {
			t.Fatal(err)
		}
	}
	r.write("etc/dynod/conf.d/mine.toml", "hots_name = 1\n", 0o644)
	if out := r.install(second); !strings.Contains(out, "the agent was not restarted") || !strings.Contains(out, "hots_name") {
		t.Errorf("a bad configuration was not told: %s", out)
	}
	wantCalls(t, r, "systemctl daemon-reload\n")
	for _, path := range enabled {
		if r.exists(path) {
			t.Errorf("%s is back after the upgrade", path)
		}
	}

	r.run("dpkg", "--remove", "dynod")
	wantCalls(t, r, "dynoctl drain\nsystemctl stop dynod.socket dynod.service dynod-capture.service\n"+
		"systemctl kill dynos.service\nsystemctl daemon-reload\n")
	for path, want := range map[string]bool{
		"usr/bin/dynod": false, "usr/libexec/dynod": false, "run/dynod": false,
		"etc/dynod/config.toml": true, "etc/dynod/conf.d/mine.toml": true, "var/lib/dynod/dynos/record": true,
	} {
		if got := r.exists(path); got != want {
			t.Errorf("%s is there after removal: %v, want %v", path, got, want)
		}
	}

	r.run("dpkg", "--purge", "dynod")
	wantCalls(t, r, "")
	r.shutdown()
	if diff := cmp.Diff(before, r.files()); diff != "" {
		t.Errorf("left over (-before +after):\n%s", diff)
	}
}

// Dynos that could not be stopped keep their networks, and what they run from when the package is purged.
func TestRemovalWithDynosLeft(t *testing.T) {
	r := newRoot(t)
	r.boot()
	r.install(packages(t, deb, "amd64")[0])
	r.write("usr/local/bin/dynoctl", "#!/bin/sh\nexit 3\n", 0o755)
	r.write("run/dynod/network", "", 0o600)
	if out := r.run("dpkg", "--remove", "dynod"); !strings.Contains(out, "left running") {
		t.Errorf("not told: %s", out)
	}
	if !r.exists("run/dynod/network") {
		t.Error("networks were taken away")
	}

	r.write("var/lib/dynod/slugs/app", "", 0o600)
	out := r.run("sh", "-c", "mount --bind /run/dynod/network /run/dynod/network && dpkg --purge dynod")
	if !strings.Contains(out, "left running") {
		t.Errorf("not told: %s", out)
	}
	for path, want := range map[string]bool{"run/dynod/network": true, "var/lib/dynod/slugs/app": true, "etc/dynod": false} {
		if got := r.exists(path); got != want {
			t.Errorf("%s is there after purging: %v, want %v", path, got, want)
		}
	}
}

// File systems of their own are emptied and stay.
func TestRemovalWhereDirectoriesAreMounts(t *testing.T) {
	r := newRoot(t)
	r.boot()
	r.install(packages(t, deb, "amd64")[0])
	r.run("sh", "-ec", `
for dir in /var/lib/dynod /run/dynod; do mount -t tmpfs none $dir; touch $dir/file; done
dpkg --remove dynod
dpkg --purge dynod
[ -z "$(find /var/lib/dynod /run/dynod -mindepth 1)" ]`)
	if r.exists("etc/dynod") {
		t.Error("configuration is there after purging")
	}
}

func wantCalls(t *testing.T, r root, want string) {
	t.Helper()
	if diff := cmp.Diff(want, r.calls()); diff != "" {
		t.Errorf("calls (-want +got):\n%s", diff)
	}
}

// install does what an unattended upgrade does where the configuration was changed.
func (r root) install(file string) string {
	r.t.Helper()
	output(r.t, "cp", file, filepath.Join(r.dir, "dynod.deb"))
	defer func() { _ = os.Remove(filepath.Join(r.dir, "dynod.deb")) }()
	return r.run("dpkg", "--force-confdef", "--force-confold", "--install", "/dynod.deb")
}

func (r root) verify() string {
	r.t.Helper()
	units, err := filepath.Glob(filepath.Join(r.dir, "usr/lib/systemd/system/dyno*.*"))
	if err != nil || len(units) < 3 {
		r.t.Fatalf("got %q, %v; want units", units, err)
	}
	args := []string{"verify", "--man=no", "--root=" + r.dir}
	for _, unit := range units {
		args = append(args, filepath.Base(unit))
	}
	return output(r.t, "systemd-analyze", args...)
}

// newer is the package with the next version and another default configuration.
func newer(t *testing.T, file string) string {
	t.Helper()
	dir, next := filepath.Join(t.TempDir(), "tree"), filepath.Join(t.TempDir(), "next.deb")
	output(t, "dpkg-deb", "--raw-extract", file, dir)
	output(t, "sed", "-i", "s/^Version: .*/Version: 1.3.0-1/", filepath.Join(dir, "DEBIAN/control"))
	output(t, "sed", "-i", "$ a # new in this version", filepath.Join(dir, "etc/dynod/config.toml"))
	output(t, "dpkg-deb", "-Zgzip", "-z1", "--root-owner-group", "--build", dir, next)
	return next
}
