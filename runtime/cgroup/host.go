package cgroup

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// needed are the controllers that bound a dyno. On v2 devices and freezer are no controllers: they are always there.
var (
	needed       = []string{"cpu", "memory", "pids"}
	neededBefore = append([]string{"devices", "freezer"}, needed...) // on v1
)

// Missing are the controllers that dynos need and the host has not got.
func (t Tree) Missing() ([]string, error) {
	if !t.Unified {
		return slices.DeleteFunc(slices.Clone(neededBefore), func(c string) bool {
			return exists(filepath.Join(t.Root, c, "cgroup.procs"))
		}), nil
	}
	has, err := os.ReadFile(filepath.Join(t.Root, "cgroup.controllers"))
	if err != nil {
		return nil, fmt.Errorf("list controllers: %w", err)
	}
	return slices.DeleteFunc(slices.Clone(needed), func(c string) bool {
		return slices.Contains(strings.Fields(string(has)), c)
	}), nil
}
