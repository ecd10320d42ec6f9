package doctor

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/dynod/dynod/cmd/dynod/doctor/report"
	"github.com/dynod/dynod/runtime"
	"github.com/dynod/dynod/runtime/cgroup"
	"github.com/dynod/dynod/runtime/rootfs"
)

func (h Host) kernel(_ context.Context, n *report.Notes) {
	release, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		n.Fail("is /proc mounted?", "%v", err)
		return
	}
	name := strings.TrimSpace(string(release))
	if h.Config.Host.UserNamespace == runtime.UserNamespaceRequired && !atLeast(name, 5, 19) {
		n.Fail("needed for user ids of their own in dynos: a newer kernel, or host.user_namespace = \"off\"", "Linux %s is older than 5.19", name)
	} else {
		n.OK("Linux %s", name)
	}
	if _, err := os.Stat("/proc/sys/kernel/seccomp/actions_avail"); err != nil {
		n.Fail("a kernel with CONFIG_SECCOMP_FILTER", "the kernel does not filter system calls")
	}
}

// atLeast compares the first two numbers of a version.
func atLeast(version string, major, minor int) bool {
	var a, b int
	if _, err := fmt.Sscanf(strings.TrimPrefix(version, "v"), "%d.%d", &a, &b); err != nil {
		return false
	}
	return a > major || a == major && b >= minor
}

func (h Host) cgroups(_ context.Context, n *report.Notes) {
	tree, version := cgroup.Host(), "v1"
	if tree.Unified {
		version = "v2"
	}
	missing, err := tree.Missing()
	switch {
	case err != nil:
		n.Fail("mount the cgroup file system at /sys/fs/cgroup", "%v", err)
	case len(missing) > 0:
		n.Fail("turn them on at the kernel's command line, such as cgroup_enable=memory", "cgroup %s lacks the controllers %s", version, strings.Join(missing, ", "))
	case !tree.SwapCounted():
		n.Warn("swapaccount=1 at the kernel's command line", "cgroup %s does not count swap: dynos that may swap are not bounded there", version)
	default:
		n.OK("%s", version)
	}
}

func (h Host) userIDs(_ context.Context, n *report.Notes) {
	if h.Config.Host.UserNamespace == runtime.UserNamespaceOff {
		n.OK("user namespaces are not used")
		return
	}
	if most, err := number("/proc/sys/user/max_user_namespaces"); err != nil || most < int64(h.Config.Host.MaxDynos) {
		n.Fail(fmt.Sprintf("sysctl -w user.max_user_namespaces=%d", 4*h.Config.Slots()), "the kernel allows %d user namespaces, fewer than host.max_dynos = %d", most, h.Config.Host.MaxDynos)
	}
	if err := rootfs.Probe(standing(h.Config.StateDir)); err != nil {
		n.Fail("Linux 5.19 or later, and state_dir on a file system with id-mapped mounts (ext4, XFS, btrfs)", "%v", err)
	}
	for _, file := range []string{"/etc/subuid", "/etc/subgid"} {
		h.checkShares(n, file)
	}
	if n.All == nil {
		n.OK("user namespaces and id-mapped mounts are there")
	}
}

// checkShares looks whether anybody else was given the ids of dynos: lines are name:first:count.
func (h Host) checkShares(n *report.Notes, file string) {
	f, err := os.Open(file)
	if err != nil {
		return // it need not be there
	}
	defer f.Close()
	first := int64(h.Config.Host.FirstUID)
	end := first + int64(h.Config.Slots())<<16
	for lines := bufio.NewScanner(f); lines.Scan(); {
		fields := strings.Split(lines.Text(), ":")
		if len(fields) != 3 {
			continue
		}
		start, _ := strconv.ParseInt(fields[1], 10, 64)
		count, _ := strconv.ParseInt(fields[2], 10, 64)
		if start < end && first < start+count {
			n.Warn("choose another host.first_uid", "%s gives ids of dynos (%d to %d) to %q", file, first, end-1, fields[0])
		}
	}
}
