package lab

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// settle is how long Leaks waits for what is on its way out: a shim ends a moment after its task is deleted.
const settle = 5 * time.Second

// Snapshot counts what a lab holds at one moment, each thing under a line that describes it. Numbers that change
// when the same thing is made again, such as a process number, are not part of the line.
type Snapshot map[string]int

// Snapshot looks at everything that may leak: processes and zombies; mounts and pinned network namespaces below the
// lab; cgroups below CgroupParent; links, routes and the nftables ruleset in the host's namespace; containers, tasks,
// leases and live snapshots in containerd's namespace dynod; files below Dir()/state, Dir()/spool and Run(). What the
// lab itself keeps there is the same each time. Images and their content are a cache, and left out.
func (l *Lab) Snapshot(ctx context.Context) (Snapshot, error) {
	s := Snapshot{}
	err := errors.Join(
		l.countProcesses(s),
		l.countHost(ctx, s),
		l.countContainerd(ctx, s),
	)
	l.countMounts(s)
	l.countCgroups(s)
	l.countFiles(s)
	if err != nil {
		return nil, fmt.Errorf("take snapshot: %w", err)
	}
	return s, nil
}

// Leaks lists what the lab holds more of than before. It looks again for up to 5 s as long as there is anything.
func (l *Lab) Leaks(ctx context.Context, before Snapshot) ([]string, error) {
	wait, cancel := context.WithTimeout(ctx, settle)
	defer cancel()
	for {
		now, err := l.Snapshot(ctx)
		if err != nil {
			return nil, err
		}
		more := now.beyond(before)
		if len(more) == 0 || !pause(wait) {
			return more, ctx.Err()
		}
	}
}

func (s Snapshot) beyond(before Snapshot) []string {
	var more []string
	for line, n := range s {
		if d := n - before[line]; d > 0 {
			more = append(more, fmt.Sprintf("%s (%d more)", line, d))
		}
	}
	slices.Sort(more)
	return more
}

func (s Snapshot) add(kind string, words ...string) { s[kind+": "+strings.Join(words, " ")]++ }

// countProcesses adds the lab's processes, and the zombies that they have not reaped. The children of the lab's own
// program are left out: whoever called Command reaps them.
func (l *Lab) countProcesses(s Snapshot) error {
	found, err := l.mark().find()
	if err != nil {
		return err
	}
	args := map[int][]string{}
	for _, p := range found {
		if !p.zombie {
			args[p.pid] = p.args
			s.add("process", p.args...)
		}
	}
	pids, err := allPIDs()
	if err != nil {
		return err
	}
	for _, pid := range pids {
		if of, ours := args[parent(pid)]; ours && state(procDir(pid)) == 'Z' {
			s.add("zombie", append([]string{"below"}, of...)...)
		}
	}
	return nil
}

func (l *Lab) countMounts(s Snapshot) {
	for _, m := range mountsBelow(l.dir) {
		if m.FSType == "nsfs" {
			s.add("namespace", m.MountPoint)
		}
		s.add("mount", m.FSType, m.MountPoint)
	}
}

func (l *Lab) countCgroups(s Snapshot) {
	for _, dir := range cgroupsBelow(l.CgroupParent()) {
		if filepath.Base(dir) != filepath.Base(l.CgroupParent()) {
			s.add("cgroup", dir)
		}
	}
}

func (l *Lab) countFiles(s Snapshot) {
	mounts := map[string]bool{}
	for _, m := range mountsBelow(l.dir) {
		mounts[m.MountPoint] = true
	}
	for _, dir := range []string{"state", "spool", "run"} {
		_ = filepath.WalkDir(filepath.Join(l.dir, dir), func(path string, d fs.DirEntry, err error) error {
			if path == l.containerdState() || path == filepath.Dir(l.Host()) {
				return filepath.SkipDir // counted by what they are
			}
			if err == nil && !strings.HasPrefix(path, l.containerdAddress()) {
				s.add("file", path)
			}
			if mounts[path] && path != l.Run() && err == nil && d.IsDir() {
				return filepath.SkipDir // what is on it is counted as a mount
			}
			return nil // vanished meanwhile: not there
		})
	}
}
