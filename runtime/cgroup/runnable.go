package cgroup

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// Runnable counts the group's threads that run or wait for a CPU at this moment; NotFound when the group is gone. It
// reads a file for every thread.
func (g Group) Runnable() (int, error) {
	path := g.file("pids", "tasks")
	if g.tree.Unified {
		path = g.file("", "cgroup.threads")
	}
	threads, err := read(path)
	if err != nil {
		return 0, fmt.Errorf("list threads of %s: %w", g, err)
	}
	running := 0
	for id := range strings.FieldsSeq(threads) {
		if runs(id) {
			running++
		}
	}
	return running, nil
}

// runs reads the state that follows the thread's name, which may itself hold spaces and brackets.
func runs(id string) bool {
	stat, err := os.ReadFile(filepath.Join("/proc", id, "stat"))
	return err == nil && bytes.HasPrefix(stat[bytes.LastIndexByte(stat, ')')+1:], []byte(" R"))
}
