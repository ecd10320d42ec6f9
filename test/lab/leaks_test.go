package lab_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/dynod/dynod/test/lab"
)

// TestLeaksSeesEachKind makes one leak of each kind and expects the check to name every one.
func TestLeaksSeesEachKind(t *testing.T) {
	l := lab.New(t)
	if _, err := l.Containerd(t.Context()); err != nil {
		t.Fatal(err)
	}
	before, err := l.Snapshot(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	leakProcess(t, l)
	leakMount(t, l)
	leakCgroup(t, l)
	leakContainer(t, l)
	run(t, l, "ip", "link", "add", "leak0", "type", "veth", "peer", "name", "leak1")
	run(t, l, "ip", "route", "add", "192.0.2.0/24", "via", lab.OutsideAddress)
	run(t, l, "nft", "add table ip leak; add set ip leak s { type ipv4_addr; elements = { 192.0.2.7 }; }")
	leaks, err := l.Leaks(t.Context(), before)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"process: sleep", "zombie: below sleep", "mount: tmpfs", "cgroup:", "file:", "link: veth leak0", "route: 192.0.2.0/24",
		"nft: table", `"192.0.2.7"`, "container: leak", "task: leak", "snapshot: Active leak", "process: /usr/bin/containerd-shim", "/memory/",
	} {
		if !slices.ContainsFunc(leaks, func(s string) bool { return strings.Contains(s, want) }) {
			t.Errorf("%q is not among the leaks:\n%s", want, strings.Join(leaks, "\n"))
		}
	}
}

func TestNoLeaksOnAQuietHost(t *testing.T) {
	l := lab.New(t)
	if _, err := l.Containerd(t.Context()); err != nil {
		t.Fatal(err)
	}
	before, err := l.Snapshot(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := l.RestartContainerd(t.Context()); err != nil {
		t.Fatal(err)
	}
	if leaks, err := l.Leaks(t.Context(), before); err != nil || len(leaks) > 0 {
		t.Fatalf("leaks %q, error %v", leaks, err)
	}
}

// leakProcess leaves a process, and a second one with a child that ends a moment later and is never waited for.
func leakProcess(t *testing.T, l *lab.Lab) {
	t.Helper()
	for _, script := range []string{"exec sleep 300", "sleep 0.1 & exec sleep 300"} {
		if err := l.Command("", "sh", "-c", script).Start(); err != nil {
			t.Fatal(err)
		}
	}
}

func leakMount(t *testing.T, l *lab.Lab) {
	t.Helper()
	dir := filepath.Join(l.Run(), "leak")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, ""); err != nil {
		t.Fatal(err)
	}
}

// leakCgroup makes one in the unified hierarchy, wherever the machine has it.
func leakCgroup(t *testing.T, l *lab.Lab) {
	t.Helper()
	root := "/sys/fs/cgroup/unified"
	if _, err := os.Stat(root); err != nil {
		root = "/sys/fs/cgroup"
	}
	if err := os.MkdirAll(filepath.Join(root, l.CgroupParent(), "leak"), 0o755); err != nil {
		t.Fatal(err)
	}
}

func leakContainer(t *testing.T, l *lab.Lab) {
	t.Helper()
	startContainer(t, l, "leak", "/bin/sleep", "300")
}

func run(t *testing.T, l *lab.Lab, argv ...string) {
	t.Helper()
	if out, err := l.Command(l.Host(), argv...).CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", argv, err, out)
	}
}
