package spec_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/dynod/dynod/runtime/spec"
)

func TestADynoHasWhatItNeedsAndNoMore(t *testing.T) {
	s := spec.Build(spec.Dyno{
		Rootfs: "/r", Launch: "/l", Sysfs: "/s", Cgroupfs: "/c", Namespace: "/n", CgroupPath: "/dynos/x",
		ReadOnly: true, Writable: []string{"/app"}, FirstID: 1 << 20, Mapped: true,
	})
	p := s.Process
	if p.User.UID != 1000 || p.User.GID != 1000 || len(p.User.AdditionalGids) != 0 || !p.NoNewPrivileges || !slices.Equal(p.Env, []string{"GOMAXPROCS=1"}) {
		t.Errorf("process %+v", p)
	}
	if c := *p.Capabilities; len(c.Bounding)+len(c.Effective)+len(c.Permitted)+len(c.Inheritable)+len(c.Ambient) != 0 {
		t.Errorf("capabilities %+v", c)
	}
	var kinds []string
	for _, n := range s.Linux.Namespaces {
		kinds = append(kinds, string(n.Type))
		if n.Path != "" && n.Type != specs.NetworkNamespace {
			t.Errorf("namespace %+v is not its own", n)
		}
	}
	slices.Sort(kinds)
	if got := strings.Join(kinds, " "); got != "cgroup ipc mount network pid user uts" {
		t.Errorf("namespaces %s", got)
	}
	if m := s.Linux.UIDMappings; len(m) != 1 || m[0].HostID != 1<<20 || m[0].Size != 65536 {
		t.Errorf("ids %+v", m)
	}
	for _, m := range s.Mounts {
		if !slices.Contains(m.Options, "nosuid") {
			t.Errorf("%s may hold setuid programs: %v", m.Destination, m.Options)
		}
	}
	if s.Version != "1.0.2" || !s.Root.Readonly || s.Linux.CgroupsPath != "/dynos/x" {
		t.Errorf("version %s, root %+v, cgroup %s", s.Version, s.Root, s.Linux.CgroupsPath)
	}
}

func TestTheFilterHasNoForbiddenCall(t *testing.T) {
	filter := spec.Seccomp()
	families, pairs := 0, 0
	for _, rule := range filter.Syscalls {
		if rule.Action != specs.ActAllow {
			continue
		}
		for _, name := range rule.Names {
			switch name {
			case "keyctl", "add_key", "request_key", "bpf", "perf_event_open", "userfaultfd", "unshare", "setns",
				"mount", "socketcall", "io_uring_setup", "io_uring_enter", "io_uring_register", "clone3", "kexec_load":
				t.Errorf("%s is allowed", name)
			case "socket":
				families++
				if len(rule.Args) != 1 || rule.Args[0].Op != specs.OpEqualTo {
					t.Errorf("socket is allowed by %+v", rule.Args)
				}
			case "socketpair":
				pairs++
				if want := (specs.LinuxSeccompArg{Index: 0, Value: unix.AF_UNIX, Op: specs.OpEqualTo}); !slices.Equal(rule.Args, []specs.LinuxSeccompArg{want}) {
					t.Errorf("socketpair is allowed by %+v", rule.Args)
				}
			case "clone":
				if len(rule.Args) != 1 {
					t.Errorf("clone is allowed by %+v", rule.Args)
				}
			}
		}
	}
	if families != 4 || pairs != 1 || filter.DefaultAction != specs.ActErrno || len(filter.Architectures) != 1 {
		t.Errorf("%d families, %d of pairs, default %s, architectures %v", families, pairs, filter.DefaultAction, filter.Architectures)
	}
}

func TestLimitsAreWrittenForEitherVersion(t *testing.T) {
	l := spec.Limits{Memory: 512 << 20, Swap: 1 << 20, CPUWeight: 200, CPUMilli: 250, Pids: 256}
	unified := l
	unified.Unified = true
	uncounted := l
	uncounted.NoSwap = true
	disk := spec.Limits{MemoryHigh: 400 << 20, IO: spec.IO{Weight: 50, Bytes: 1 << 20, Operations: 99, Major: 259, Minor: 2}}
	newDisk := disk
	newDisk.Unified = true
	const blockIO = `"blockIO":{"throttleReadBpsDevice":[{"major":259,"minor":2,"rate":1048576}],"throttleWriteBpsDevice":[{"major":259,"minor":2,"rate":1048576}],` +
		`"throttleReadIOPSDevice":[{"major":259,"minor":2,"rate":99}],"throttleWriteIOPSDevice":[{"major":259,"minor":2,"rate":99}]}`
	const devices, memory = `{"devices":[{"allow":false,"access":"rwm"}]`, `"memory":{"limit":536870912,"swap":537919488}`
	for _, c := range []struct {
		limits spec.Limits
		want   string
	}{
		{spec.Limits{}, devices + `}`},
		{l, devices + `,` + memory + `,"cpu":{"shares":5219,"quota":25000,"period":100000},"pids":{"limit":256}}`},
		{unified, devices + `,` + memory + `,"cpu":{"quota":25000,"period":100000},"pids":{"limit":256},"unified":{"cpu.weight":"200","memory.oom.group":"1"}}`},
		{disk, devices + `,` + blockIO + `}`},
		{newDisk, devices + `,` + blockIO + `,"unified":{"io.weight":"50","memory.high":"419430400","memory.oom.group":"1"}}`},
		{uncounted, devices + `,"memory":{"limit":536870912},"cpu":{"shares":5219,"quota":25000,"period":100000},"pids":{"limit":256}}`},
	} {
		got, err := json.Marshal(spec.Build(spec.Dyno{Limits: c.limits}).Linux.Resources)
		if err != nil || string(got) != c.want {
			t.Errorf("%+v:\n got %s\nwant %s (%v)", c.limits, got, c.want, err)
		}
	}
}

func TestSharesKeepTheEnds(t *testing.T) {
	for weight, want := range map[uint64]uint64{0: 2, 1: 2, 100: 2597, 10_000: 262_144, 1 << 60: 262_144} {
		if got := spec.Shares(weight); got != want {
			t.Errorf("weight %d: %d shares, want %d", weight, got, want)
		}
	}
}
