package contract_test

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	dynodv1 "github.com/dynod/dynod/proto/dynod/v1"
	"github.com/dynod/dynod/test/lab"
)

// hold ends a script that is to be looked at from the host while it waits: it ends with SIGTERM.
const hold = `echo holding; trap 'exit 0' TERM; sleep 600 & wait`

// seen is what a life was on the host while it held.
type seen struct {
	group map[string]string // values of its control group
	pid   uint32
	uid   string // of its command's process
}

// held is the life of a dyno that ends with hold, with what the host saw of it.
func (s *stage) held(o *dynodv1.StartDynoRequest) life {
	var at seen
	l := s.play(o, s.said("holding"), func(id string) (err error) {
		at, err = s.look(id)
		return err
	}, s.stop(""))
	l.seen = at
	return l
}

func (s *stage) look(id string) (at seen, err error) {
	out, err := s.API().GetDyno(s.ctx, &dynodv1.GetDynoRequest{DynoId: id})
	if err != nil {
		return at, err
	}
	at = seen{group: map[string]string{}, pid: out.GetDyno().GetPid()}
	group, err := lab.Group(int(at.pid))
	if err != nil {
		return at, err
	}
	for name, file := range groupFiles {
		at.group[name] = file(group)
	}
	at.uid, err = statusOf(at.pid, "Uid")
	return at, err
}

// groupFiles reads values of a control group, of cgroup v1 or v2, as v2 has them.
var groupFiles = map[string]func(group string) string{
	"memory": func(g string) string { return first(g, "memory/%s/memory.limit_in_bytes", "%s/memory.max") },
	"pids":   func(g string) string { return first(g, "pids/%s/pids.max", "%s/pids.max") },
	"weight": func(g string) string { return first(g, "%s/cpu.weight") + weightOf(first(g, "cpu/%s/cpu.shares")) },
	"throttled": func(g string) string {
		_, after, _ := strings.Cut(first(g, "cpu/%s/cpu.stat", "%s/cpu.stat"), "nr_throttled ")
		times, _, _ := strings.Cut(after, "\n")
		return times
	},
	"ceiling": func(g string) string {
		value := first(g, "cpu/%s/cpu.cfs_quota_us", "%s/cpu.max")
		if value == "-1" || strings.HasPrefix(value, "max") {
			return "none"
		}
		return value
	},
}

// weightOf is the weight that cgroup v1's shares stand for, by the line on which OCI runtimes convert.
func weightOf(shares string) string {
	n, err := strconv.ParseFloat(shares, 64)
	if err != nil {
		return ""
	}
	return fmt.Sprint(math.Round(1 + (n-2)*9999/262142))
}

// first is the content of the first file that exists, by its path below the mount point, with the group for %s.
func first(group string, patterns ...string) string {
	for _, p := range patterns {
		data, err := os.ReadFile(filepath.Join("/sys/fs/cgroup", fmt.Sprintf(p, group)))
		if err == nil {
			return strings.TrimSpace(string(data))
		}
	}
	return ""
}

// statusOf is the first value of a line in a process's status.
func statusOf(pid uint32, name string) (string, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(data)) {
		if rest, ok := strings.CutPrefix(line, name+":"); ok {
			return strings.Fields(rest)[0], nil
		}
	}
	return "", fmt.Errorf("no %s in the status of process %d", name, pid)
}

// onHost checks a value of the dyno's control group.
func (l life) onHost(name, want string) error {
	if l.err != nil {
		return l.err
	}
	return unless(l.seen.group[name] == want, "%s of its control group is %q, want %q", name, l.seen.group[name], want)
}

func unless(ok bool, format string, args ...any) error {
	if ok {
		return nil
	}
	return fmt.Errorf(format, args...)
}

func contains(text, part string) bool { return strings.Contains(text, part) }
