package cgroup_test

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/dynod/dynod/runtime/cgroup"
)

func TestMissingControllers(t *testing.T) {
	root := t.TempDir()
	file := func(name, text string) {
		t.Helper()
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	missing := func(unified bool, want ...string) {
		t.Helper()
		got, err := (cgroup.Tree{Root: root, Unified: unified}).Missing()
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("got %q, %v; want %q", got, err, want)
		}
	}
	if _, err := (cgroup.Tree{Root: root, Unified: true}).Missing(); err == nil {
		t.Error("no error without a file system there")
	}
	file("cgroup.controllers", "cpuset cpu io pids\n")
	missing(true, "memory")
	file("cgroup.controllers", "cpuset cpu io memory pids\n")
	missing(true)
	file("freezer/cgroup.procs", "")
	file("cpu/cgroup.procs", "")
	file("memory/cgroup.procs", "")
	missing(false, "devices", "pids")
}
