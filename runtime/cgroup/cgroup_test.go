package cgroup_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/containerd/errdefs"

	"github.com/dynod/dynod/runtime/cgroup"
)

const path = "/dynos/d"

// tree is a directory that looks like cgroup v2 with one group.
func tree(t *testing.T, files map[string]string) (cgroup.Group, string) {
	t.Helper()
	root := t.TempDir()
	dir := filepath.Join(root, path)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, content := range files {
		write(t, filepath.Join(dir, name), content)
	}
	return cgroup.Tree{Root: root, Unified: true}.Group(path), dir
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestKillLeavesItToTheKernel(t *testing.T) {
	// Only events tell of processes below the group, and of such whose number is not seen here.
	g, dir := tree(t, map[string]string{"cgroup.events": "populated 1\nfrozen 0\n", "cgroup.kill": "", "cgroup.procs": ""})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	killed := make(chan error)
	go func() { killed <- g.Kill(ctx) }()
	for {
		if order, _ := os.ReadFile(filepath.Join(dir, "cgroup.kill")); string(order) == "1" {
			break
		}
		if ctx.Err() != nil {
			t.Fatal("cgroup.kill was not written to")
		}
	}
	select {
	case err := <-killed:
		t.Errorf("returned while processes were left: %v", err)
	default:
	}
	write(t, filepath.Join(dir, "events.new"), "populated 0\nfrozen 0\n")
	if err := os.Rename(filepath.Join(dir, "events.new"), filepath.Join(dir, "cgroup.events")); err != nil {
		t.Fatal(err)
	}
	if err := <-killed; err != nil {
		t.Error(err)
	}
}

func TestKillGivesUp(t *testing.T) {
	g, _ := tree(t, map[string]string{"cgroup.events": "populated 1\n", "cgroup.kill": ""})
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := g.Kill(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("killed what cannot be: %v", err)
	}
}

func TestKillOfNothing(t *testing.T) {
	empty, dir := tree(t, map[string]string{"cgroup.events": "populated 0\n", "cgroup.kill": ""})
	for _, g := range []cgroup.Group{empty, cgroup.Tree{Root: t.TempDir(), Unified: true}.Group(path), cgroup.Tree{Root: t.TempDir()}.Group(path)} {
		if err := g.Kill(t.Context()); err != nil {
			t.Error(err)
		}
	}
	if order, _ := os.ReadFile(filepath.Join(dir, "cgroup.kill")); len(order) > 0 {
		t.Error("an empty group was killed")
	}
}

func TestUsage(t *testing.T) {
	psi := func(avg10 string) string {
		return "some avg10=" + avg10 + " avg60=9.00 avg300=9.00 total=1\nfull avg10=9.00 avg60=9.00 avg300=9.00 total=1\n"
	}
	files := map[string]string{
		"memory.stat": "anon 100\nfile 50\nshmem 10\nswapcached 5\n", "memory.swap.current": "25\n", "memory.max": "4096\n",
		"pids.current": "3\n", "cpu.stat": "usage_usec 7\n",
		"cpu.pressure": psi("1.50"), "memory.pressure": psi("2.25"), "io.pressure": psi("100.00"),
	}
	want := cgroup.Usage{
		RSS: 110, Swap: 20, Cache: 40, Limit: 4096, Pids: 3, CPU: 7 * time.Microsecond,
		Pressure: cgroup.Pressure{CPU: 1.5, Memory: 2.25, IO: 100},
	}
	g, _ := tree(t, files)
	if got, err := g.Usage(); err != nil || got != want {
		t.Errorf("got %+v, %v; want %+v", got, err, want)
	}
	for _, name := range []string{"cpu.pressure", "memory.pressure", "io.pressure"} {
		delete(files, name)
	}
	want.Pressure = cgroup.Pressure{}
	silent, _ := tree(t, files)
	if got, err := silent.Usage(); err != nil || got != want {
		t.Errorf("without PSI: got %+v, %v; want %+v", got, err, want)
	}
	if _, err := (cgroup.Tree{Root: t.TempDir(), Unified: true}).Group(path).Usage(); !errdefs.IsNotFound(err) {
		t.Errorf("of no group: %v", err)
	}
}

func TestOOM(t *testing.T) {
	for _, c := range []struct {
		oom, kills int
		out        bool
	}{{0, 0, false}, {1, 0, false}, {0, 1, false}, {2, 1, true}} {
		g, _ := tree(t, map[string]string{
			"memory.events": "high 3\noom " + strconv.Itoa(c.oom) + "\noom_kill " + strconv.Itoa(c.kills) + "\n",
			"memory.peak":   "40\n", "memory.swap.peak": "2\n",
		})
		got, err := g.OOM()
		if err != nil || got.OutOfOwn() != c.out || got.Peak != 42 {
			t.Errorf("%+v: %+v, %v", c, got, err)
		}
	}
}

func TestWhatATreeCanDo(t *testing.T) {
	root := t.TempDir()
	if (cgroup.Tree{Root: root}).SwapCounted() || (cgroup.Tree{Root: root, Unified: true}).IOWeighted() {
		t.Error("an empty tree can do something")
	}
	write(t, filepath.Join(root, "io.cost.qos"), "")
	if (cgroup.Tree{Root: root}).IOWeighted() || !(cgroup.Tree{Root: root, Unified: true}).IOWeighted() {
		t.Error("weights are for v2, where there are costs")
	}
}
