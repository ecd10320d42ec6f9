package doctor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/dynod/dynod/cmd/dynod/doctor/report"
	"github.com/dynod/dynod/runtime/cgroup"
)

// What a full host needs of the kernel's tables for each dyno.
const (
	connectionsEach = 256 // tracked
	neighboursEach  = 2   // one at either end of its link
	watchesEach     = 1   // its shim's inotify, for the kernel's word on its memory; cgroup v2 only
	hostsOwn        = 64  // beside the dynos, in small tables
)

func (h Host) limits(_ context.Context, n *report.Notes) {
	dynos := int64(h.Config.Host.MaxDynos)
	pids := h.Config.Sizes[h.Config.Defaults.Size].Pids
	least := []struct {
		name string
		want int64
	}{
		{"kernel/pid_max", dynos * pids},
		{"kernel/threads-max", dynos * pids},
		{"user/max_net_namespaces", dynos + hostsOwn},
		{"net/ipv4/neigh/default/gc_thresh3", dynos*neighboursEach + hostsOwn},
		{"net/netfilter/nf_conntrack_max", dynos * connectionsEach},
	}
	if cgroup.Unified() {
		least = append(least, struct {
			name string
			want int64
		}{"fs/inotify/max_user_instances", dynos*watchesEach + hostsOwn})
	}
	for _, l := range least {
		has, err := number("/proc/sys/" + l.name)
		name := strings.ReplaceAll(l.name, "/", ".")
		switch {
		case errors.Is(err, fs.ErrNotExist): // its module comes with the agent
		case err != nil:
			n.Warn("", "%s: %v", name, err)
		case has < l.want:
			n.Warn(fmt.Sprintf("sysctl -w %s=%d, and the same in /etc/sysctl.d", name, l.want), "%s = %d is little for host.max_dynos = %d", name, has, dynos)
		}
	}
	checkTracked(n)
	if n.All == nil {
		n.OK("enough for %d dynos", dynos)
	}
}

// checkTracked looks how full the table of connections is now.
func checkTracked(n *report.Notes) {
	count, err := number("/proc/sys/net/netfilter/nf_conntrack_count")
	most, mostErr := number("/proc/sys/net/netfilter/nf_conntrack_max")
	if err == nil && mostErr == nil && count*10 > most*9 {
		n.Fail("raise net.netfilter.nf_conntrack_max, or give sizes a bound of connections", "%d of %d tracked connections are in use: new ones are dropped when the table is full", count, most)
	}
}

func number(file string) (int64, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return 0, err
	}
	return strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
}

// sysctl is a kernel setting as text, empty where there is none.
func sysctl(name string) string {
	text, _ := os.ReadFile("/proc/sys/" + name)
	return strings.TrimSpace(string(text))
}

// standing is a path, or else the nearest one above it that is there.
func standing(path string) string {
	for {
		if _, err := os.Stat(path); err == nil || path == filepath.Dir(path) {
			return path
		}
		path = filepath.Dir(path)
	}
}
