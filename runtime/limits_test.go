package runtime_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"

	"github.com/dynod/dynod/runtime"
	"github.com/dynod/dynod/runtime/cgroup"
	"github.com/dynod/dynod/test/lab"
)

// limited is a started dyno with limits of its own.
func (h *host) limited(l runtime.Limits) *dyno {
	h.t.Helper()
	a := h.slug(nil)
	_, err := h.Prepare(h.ctx, a)
	must(h.t, err)
	d := h.container(a)
	d.Limits = l
	must(h.t, h.Create(h.ctx, d.Container))
	must(h.t, h.Start(h.ctx, d.ID))
	return d
}

func TestProcessesAreLimited(t *testing.T) {
	h := newHost(t)
	d := h.limited(runtime.Limits{Memory: 64 << 20, Pids: 20})
	must(t, d.launch("sh", "-c", "for i in $(seq 30); do sleep 1000 & done; echo up"))
	d.wait()
	if got := d.err.all(h.ctx, t); !strings.Contains(got, "Resource temporarily unavailable") {
		t.Errorf("30 processes of 20: %q", got)
	}
}

func TestLimitsAreInTheCgroup(t *testing.T) {
	h := newHost(t)
	d := h.limited(runtime.Limits{
		Memory: 48 << 20, MemoryHigh: 40 << 20, CPUWeight: 250, CPUMilli: 1500, Pids: 33, IO: runtime.IO{Weight: 70, Bytes: 8 << 20, Operations: 900},
	})
	must(t, d.launchPlan(runtime.Plan{
		Args: []string{"sh", "-c", "ulimit -n; ulimit -Hn; echo up; sleep 1000"}, Env: []string{"PATH=/bin"}, Dir: "/",
		Rlimits: []runtime.Rlimit{{Resource: unix.RLIMIT_NOFILE, Soft: 321, Hard: 654}},
	}))
	d.out.await(h.ctx, t, "321\n654\nup\n")
	want := map[string]string{
		"memory/memory.limit_in_bytes": "50331648", "memory/memory.memsw.limit_in_bytes": "50331648",
		"cpu/cpu.shares": "6529", "cpu/cpu.cfs_quota_us": "150000", "pids/pids.max": "33",
	}
	if cgroup.Unified() {
		want = map[string]string{
			"memory.max": "50331648", "memory.swap.max": "0", "memory.oom.group": "1",
			"cpu.weight": "250", "cpu.max": "150000 100000", "pids.max": "33", "memory.high": "41943040",
			"io.max": disk(t, h.config.Dir) + " rbps=8388608 wbps=8388608 riops=900 wiops=900",
		}
		if cgroup.Host().IOWeighted() {
			want["io.weight"] = "default 70"
		}
	} else {
		for _, way := range []string{"read", "write"} {
			want["blkio/blkio.throttle."+way+"_bps_device"] = disk(t, h.config.Dir) + " 8388608"
			want["blkio/blkio.throttle."+way+"_iops_device"] = disk(t, h.config.Dir) + " 900"
		}
	}
	pid, err := h.PID(h.ctx, d.ID)
	must(t, err)
	group, err := lab.Group(pid)
	must(t, err)
	for file, value := range want {
		controller, name := filepath.Split(file)
		data, err := os.ReadFile(filepath.Join("/sys/fs/cgroup", controller, group, name))
		if err != nil || strings.TrimSpace(string(data)) != value {
			t.Errorf("%s: %q, want %s (%v)", file, data, value, err)
		}
	}
	usage, err := h.Usage(h.ctx, d.ID)
	must(t, err)
	if usage.Limit != 48<<20 || usage.RSS == 0 || usage.Total() < usage.RSS || usage.Pids < 2 || usage.CPU <= 0 {
		t.Errorf("usage %+v", usage)
	}
	must(t, h.Delete(h.ctx, d.ID))
	if _, err := h.Usage(h.ctx, d.ID); !errdefs.IsNotFound(err) {
		t.Errorf("usage of nothing: %v", err)
	}
}

// disk is the number of the disk below a directory, as lsblk knows it.
func disk(t *testing.T, dir string) string {
	t.Helper()
	source, err := exec.Command("findmnt", "--noheadings", "--output", "SOURCE", "--target", dir).Output()
	must(t, err)
	numbers, err := exec.Command("lsblk", "--inverse", "--noheadings", "--list", "--output", "MAJ:MIN", strings.TrimSpace(string(source))).Output()
	must(t, err)
	all := strings.Fields(string(numbers))
	return all[len(all)-1]
}
