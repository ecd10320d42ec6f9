package spec

import (
	"slices"
	"sync"

	"github.com/containerd/containerd/v2/contrib/seccomp"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// families are the address families of which a dyno may make sockets.
var families = []uint64{unix.AF_UNIX, unix.AF_INET, unix.AF_INET6, unix.AF_NETLINK}

// denied are calls that the usual container profile allows, or allowed in one of its versions, and that a dyno has
// no use for. Most were the way into a kernel at some time. Sockets come back by their families, which socketcall would get
// round.
var denied = []string{
	"add_key", "bpf", "fanotify_init", "fanotify_mark", "io_uring_enter", "io_uring_register", "io_uring_setup",
	"kcmp", "keyctl", "lookup_dcookie", "memfd_secret", "modify_ldt", "name_to_handle_at", "open_by_handle_at",
	"perf_event_open", "process_madvise", "quotactl", "quotactl_fd", "request_key", "setns", "socket", "socketcall",
	"socketpair", "unshare", "uretprobe", "userfaultfd", "vm86", "vm86old",
}

// Seccomp is the system call filter of a dyno: containerd's list of allowed calls for a container without
// capabilities, narrowed. What is not on it answers EPERM, or ENOSYS where a program would otherwise not try its
// fallback. Calls of other architectures than the host's own are not let through at all. The result is shared and
// must not be changed.
var Seccomp = sync.OnceValue(func() *specs.LinuxSeccomp {
	bare := &specs.Spec{Process: &specs.Process{Capabilities: &specs.LinuxCapabilities{}}}
	profile := seccomp.DefaultProfile(bare)
	profile.Architectures = profile.Architectures[:min(1, len(profile.Architectures))]
	var kept []specs.LinuxSyscall
	for _, rule := range profile.Syscalls {
		if rule.Action == specs.ActAllow {
			rule.Names = slices.DeleteFunc(slices.Clone(rule.Names), func(name string) bool { return slices.Contains(denied, name) })
		}
		if len(rule.Names) > 0 {
			kept = append(kept, rule)
		}
	}
	profile.Syscalls = append(kept, sockets()...)
	return profile
})

func sockets() []specs.LinuxSyscall {
	rules := []specs.LinuxSyscall{ofFamily("socketpair", unix.AF_UNIX)} // TIPC has pairs too
	for _, family := range families {
		rules = append(rules, ofFamily("socket", family))
	}
	return rules
}

// ofFamily allows a call whose first argument is the family.
func ofFamily(call string, family uint64) specs.LinuxSyscall {
	return specs.LinuxSyscall{
		Names:  []string{call},
		Action: specs.ActAllow,
		Args:   []specs.LinuxSeccompArg{{Index: 0, Value: family, Op: specs.OpEqualTo}},
	}
}
