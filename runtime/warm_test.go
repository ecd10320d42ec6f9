package runtime_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/dynod/dynod/runtime"
	"github.com/dynod/dynod/runtime/cgroup"
	"github.com/dynod/dynod/runtime/rootfs"
	"github.com/dynod/dynod/runtime/spec"
	"github.com/dynod/dynod/test/lab"
)

// stacked is a host whose stack is there.
func stacked(t *testing.T, change ...func(*runtime.Config)) *host {
	t.Helper()
	h := newHost(t, change...)
	_, err := h.Prepare(h.ctx, h.slug(nil))
	must(t, err)
	return h
}

// warm makes a sandbox for the next dyno, and returns its process.
func (h *host) warm() (pid int) {
	h.t.Helper()
	before := h.inits()
	must(h.t, h.Warm(h.ctx, runtime.Spare{Slot: h.slots, Stack: "small", Namespace: h.lab.Host(), Sysfs: h.sysfs}))
	for pid := range h.inits() {
		if !before[pid] {
			return pid
		}
	}
	return 0
}

// inits are the processes that are the first of a pid namespace in the lab's control groups.
func (h *host) inits() map[int]bool {
	h.t.Helper()
	pids := map[int]bool{}
	top := filepath.Join("/sys/fs/cgroup/pids", h.config.CgroupParent)
	if cgroup.Unified() {
		top = filepath.Join("/sys/fs/cgroup", h.config.CgroupParent)
	}
	_ = filepath.WalkDir(top, func(path string, _ fs.DirEntry, err error) error {
		if err != nil || filepath.Base(path) != "cgroup.procs" {
			return nil
		}
		data, _ := os.ReadFile(path)
		for field := range strings.FieldsSeq(string(data)) {
			var pid int
			if _, err := fmt.Sscan(field, &pid); err == nil {
				pids[pid] = true
			}
		}
		return nil
	})
	return pids
}

// running is a started dyno and its process.
func (h *host) running(a runtime.Artifact, change func(*runtime.Container)) (*dyno, int) {
	h.t.Helper()
	d := h.container(a)
	change(&d.Container)
	_, err := h.Runtime.Prepare(h.ctx, d.ID, a)
	must(h.t, err)
	must(h.t, h.Create(h.ctx, d.Container))
	must(h.t, d.Start(h.ctx, d.ID))
	pid, err := d.PID(h.ctx, d.ID)
	must(h.t, err)
	return d, pid
}

// look tells what a dyno can see of itself.
const look = `
id; hostname; umask; env | sort; cat /etc/hosts /etc/resolv.conf /etc/hostname /etc/passwd /etc/group /etc/heroku/dyno
cat /proc/self/limits /proc/self/cgroup /proc/self/uid_map /proc/1/comm /proc/mounts /proc/sys/kernel/hostname
grep -v -i -e vol -e ctxt -e '^Vm' -e Rss -e '^State' -e 'pid:' -e '^NS' -e mem -e Cpus -e Tgid /proc/self/status
ls -lanR /app / /tmp /var/tmp /etc /run /dev --time-style=+%F | grep -v -e '/proc' | head -n 400
cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/memory/memory.limit_in_bytes; ls -la /sys | head -n 3
stat -c '%n %A %u %g' /app /app/* /tmp /etc/hosts /run/dyno /
for d in / /etc /sys /app /tmp /var/tmp /usr /run /proc /dev/shm; do touch $d/probe 2>&1 && ls -lan $d/probe && rm $d/probe; done
echo changed >> /app/hello; mv /app/sub /app/other; ln /app/hello /app/link; cat /app/link /app/other/deep
chmod 600 /app/hello; rm /app/gone; ls -a /app; mkdir /app/gone; mv /app/hello /tmp/hello; cat /tmp/hello; df /app | tail -n 1 | cut -d' ' -f1
`

// overlays names the layers of mounts, one fewer where the app has a mount of its own, by the agent's descriptors.
var overlays = regexp.MustCompile(`=/proc/self/fd/[\d:a-z/]+`)

func (d *dyno) looks() []string {
	d.t.Helper()
	must(d.t, d.launchPlan(runtime.Plan{
		Args: []string{"sh", "-c", look}, Env: []string{"PATH=/usr/bin:/bin", "HOME=/app"}, Dir: "/app",
		Rlimits: []runtime.Rlimit{{Resource: unix.RLIMIT_NOFILE, Soft: 321, Hard: 654}},
	}))
	d.wait()
	text := d.out.all(d.ctx, d.t) + "\n" + d.err.all(d.ctx, d.t)
	text = strings.ReplaceAll(text, d.ID, "<id>")
	for inside := range 6 { // owners of mounts, as the host numbers them
		text = strings.ReplaceAll(text, strconv.Itoa(int(d.config.FirstID)+d.Slot*spec.IDs+inside), fmt.Sprintf("<%d>", inside))
	}
	return strings.Split(overlays.ReplaceAllString(text, "=<layers>"), "\n")
}

var everything = runtime.Limits{
	Memory: 48 << 20, MemoryHigh: 40 << 20, Swap: 16 << 20, CPUWeight: 250, CPUMilli: 1500, Pids: 33, Disk: 64 << 20,
	IO: runtime.IO{Weight: 70, Bytes: 8 << 20, Operations: 900},
}

// No app can tell whether its dyno was made ahead, but by the lines of mounts: the app's is one of its own.
func TestWarmDynoIsLikeAnyOther(t *testing.T) {
	h := stacked(t)
	a := h.slug(map[string]lab.File{
		"hello": {Data: "hello\n"}, "sub/deep": {Data: "deep\n"}, "run": {Data: "#!/bin/sh\n", Mode: 0o755}, "gone": {Data: "x"},
	})
	for name, limits := range map[string]runtime.Limits{"all limits": everything, "none": {}} {
		change := func(c *runtime.Container) { c.Limits, c.About = limits, []byte("{\"dyno\":1}\n") }
		cold, coldPID := h.running(a, change)
		made := h.warm()
		warm, warmPID := h.running(a, change)
		if warmPID != made || coldPID == made {
			t.Fatalf("%s: the dyno runs in process %d, not in %d that was made ahead", name, warmPID, made)
		}
		if diff := cmp.Diff(limitFiles(t, coldPID), limitFiles(t, warmPID)); diff != "" {
			t.Errorf("%s: limits of a cold dyno and a warm one:\n%s", name, diff)
		}
		coldly, warmly := cold.looks(), warm.looks()
		if diff := cmp.Diff(withoutApp(coldly), withoutApp(warmly)); diff != "" {
			t.Errorf("%s: a cold dyno sees and a warm one:\n%s", name, diff)
		}
		eventually(h.ctx, t, "only the dynos have their mounts", func() bool {
			host, err := os.ReadFile("/proc/self/mountinfo")
			must(t, err)
			return !strings.Contains(string(host), h.config.RunDir)
		})
	}
}

// withoutApp leaves out the line of the mount at /app.
func withoutApp(lines []string) (rest []string) {
	for _, line := range lines {
		if !strings.HasPrefix(line, "dyno /app overlay ") {
			rest = append(rest, line)
		}
	}
	return rest
}

// limitFiles are the settings of a process's control groups, by file. What only counts is left out.
func limitFiles(t *testing.T, pid int) map[string]string {
	t.Helper()
	groups, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	must(t, err)
	files := map[string]string{}
	for line := range strings.Lines(string(groups)) {
		parts := strings.SplitN(strings.TrimSpace(line), ":", 3)
		for controller := range strings.SplitSeq(parts[1], ",") {
			dir := filepath.Join("/sys/fs/cgroup", controller, parts[2])
			entries, _ := os.ReadDir(dir)
			for _, e := range entries {
				if info, err := e.Info(); err != nil || info.Mode()&0o200 == 0 || counts.MatchString(e.Name()) {
					continue
				}
				if data, err := os.ReadFile(filepath.Join(dir, e.Name())); err == nil {
					files[filepath.Join(controller, e.Name())] = string(data)
				}
			}
		}
	}
	return files
}

var counts = regexp.MustCompile(`usage|procs|tasks|threads|events|peak|failcnt|reset|pressure|force_empty|kmem|stat`)

// A sandbox that does not fit makes room for a dyno like any other.
func TestSandboxesOfNoUse(t *testing.T) {
	h := stacked(t)
	same := func(*runtime.Container) {}
	for name, c := range map[string]struct {
		spoil  func(pid int)
		change func(*runtime.Container)
	}{
		"ended": {func(pid int) { must(t, syscall.Kill(pid, syscall.SIGKILL)) }, same},
		"never made": {func(int) {
			links, err := filepath.Glob(filepath.Join(h.config.RunDir, "*", "spare"))
			must(t, err)
			must(t, errors.Join(rootfs.Unmount(filepath.Dir(links[0])), os.RemoveAll(filepath.Dir(links[0]))))
		}, same},
		"another network": {func(int) {}, func(c *runtime.Container) { c.Namespace = h.lab.Outside() }},
		"a private space": {func(int) {}, func(c *runtime.Container) { c.Space = "blue" }},
	} {
		pid := h.warm()
		c.spoil(pid)
		d, got := h.running(h.slug(nil), c.change)
		if got == pid || alive(pid) {
			t.Errorf("%s: dyno in %d, sandbox in %d lives: %t", name, got, pid, alive(pid))
		}
		must(t, d.launch("cat", "hello"))
		if out := d.out.all(h.ctx, t); out != "hello\n" {
			t.Errorf("%s: %q", name, out)
		}
	}
}

func TestWarmMayBeRepeated(t *testing.T) {
	h := stacked(t)
	first := h.warm()
	if h.warm() != 0 || !alive(first) {
		t.Error("a sandbox of use was made anew")
	}
	must(t, syscall.Kill(first, syscall.SIGKILL))
	eventually(h.ctx, t, "its end", func() bool { return !alive(first) })
	second := h.warm()
	if _, pid := h.running(h.slug(nil), func(*runtime.Container) {}); pid != second || second == 0 {
		t.Errorf("dyno in %d, sandbox in %d", pid, second)
	}
}

func TestWarmFollowsTheNetwork(t *testing.T) {
	h := stacked(t)
	first := h.warm()
	must(t, h.Warm(h.ctx, runtime.Spare{Slot: h.slots, Stack: "small", Namespace: h.lab.Outside(), Sysfs: h.sysfs}))
	if alive(first) {
		t.Error("a sandbox in a network that the slot has no more was kept")
	}
	if second := h.warm(); second == 0 {
		t.Error("it was kept when the network changed again")
	}
}

// TestWarmDynoWaitsOnItsConnection has no place where dyno-init could come to.
func TestWarmDynoWaitsOnItsConnection(t *testing.T) {
	h := stacked(t)
	h.warm()
	d, _ := h.running(h.slug(nil), func(*runtime.Container) {})
	must(t, os.Remove(filepath.Join(h.config.RunDir, d.ID, "launch")))
	must(t, d.launch("cat", "hello"))
	if out := d.out.all(h.ctx, t); out != "hello\n" {
		t.Errorf("%q", out)
	}
}

// TestWarmDynoHearsKnocks after a question has ended the connection on which it waits.
func TestWarmDynoHearsKnocks(t *testing.T) {
	h := stacked(t)
	h.warm()
	d, _ := h.running(h.slug(nil), func(*runtime.Container) {})
	for range 2 {
		if _, err := h.Exec(h.ctx, d.ID, runtime.Plan{Args: []string{"true"}, Dir: "/"}); !errdefs.IsFailedPrecondition(err) {
			t.Errorf("executed before the launch: %v", err)
		}
	}
	must(t, d.launch("cat", "hello"))
	if out := d.out.all(h.ctx, t); out != "hello\n" {
		t.Errorf("%q", out)
	}
}

func TestNothingIsMadeAheadWithoutItsStack(t *testing.T) {
	h := newHost(t, func(c *runtime.Config) { c.Stacks["other"] = c.Stacks["small"] + ".none" })
	for _, stack := range []string{"small", "other", "unknown"} {
		if err := h.Warm(h.ctx, runtime.Spare{Stack: stack}); !errdefs.IsNotFound(err) {
			t.Errorf("%s: %v", stack, err)
		}
	}
	if found, err := h.List(h.ctx); err != nil || len(found) != 0 {
		t.Errorf("left: %v, %v", found, err)
	}
}

// TestAgentIsKilledAroundAnAssignment leaves what a killed agent does: a sandbox before it is taken, one that is the dyno's by
// name and no more, and one that is the dyno's.
func TestAgentIsKilledAroundAnAssignment(t *testing.T) {
	h := stacked(t)
	waiting := h.warm()
	if found, err := h.List(h.ctx); err != nil || len(found) != 0 {
		t.Errorf("a sandbox is no dyno as long as its agent lives: %v, %v", found, err)
	}
	h.restart()
	found, err := h.List(h.ctx)
	if err != nil || len(found) != 1 || found[0].State != runtime.StateNone || found[0].Slot != h.slots {
		t.Fatalf("before: %+v, %v", found, err)
	}
	must(t, h.Delete(h.ctx, found[0].ID))
	if found, err := h.List(h.ctx); err != nil || len(found) != 0 || alive(waiting) {
		t.Errorf("left: %v, %v", found, err)
	}

	half := h.warm()
	h.restart()
	d := h.container(h.slug(nil))
	left, err := h.List(h.ctx)
	must(t, err)
	must(t, os.Rename(filepath.Join(h.config.RunDir, left[0].ID), filepath.Join(h.config.RunDir, d.ID)))
	found, err = h.List(h.ctx)
	if err != nil || len(found) != 1 || found[0].ID != d.ID || found[0].State != runtime.StateNone {
		t.Fatalf("half-way: %+v, %v", found, err)
	}
	_, err = h.Runtime.Prepare(h.ctx, d.ID, d.Artifact)
	must(t, err)
	must(t, h.Create(h.ctx, d.Container))
	must(t, h.Start(h.ctx, d.ID))
	if pid, err := h.PID(h.ctx, d.ID); err != nil || pid == half || alive(half) {
		t.Errorf("half a dyno was taken for one: %d, %v", pid, err)
	}
	must(t, d.launch("cat", "hello"))
	d.wait()

	whole := h.warm()
	d, _ = h.running(h.slug(nil), func(*runtime.Container) {})
	h.restart()
	found, err = h.List(h.ctx)
	if err != nil || len(found) != 2 {
		t.Fatalf("after: %+v, %v", found, err)
	}
	must(t, h.Start(h.ctx, d.ID))
	if pid, err := h.PID(h.ctx, d.ID); err != nil || pid != whole {
		t.Errorf("process %d, %v; want %d", pid, err, whole)
	}
	must(t, d.launch("sh", "-c", "hostname; exit 7"))
	if exit := d.wait(); exit.Code != 7 || d.out.all(h.ctx, t) != d.ID+"\n" {
		t.Errorf("%+v %q", exit, d.out)
	}
	must(t, h.Delete(h.ctx, d.ID))
	if _, err := h.Usage(h.ctx, d.ID); !errdefs.IsNotFound(err) {
		t.Errorf("usage of nothing: %v", err)
	}
}

// TestDeleteGoesOnWhereItFailed has something in a warm dyno's files that cannot be removed at first.
func TestDeleteGoesOnWhereItFailed(t *testing.T) {
	h := stacked(t)
	h.warm()
	d, _ := h.running(h.slug(nil), func(*runtime.Container) {})
	disks := filepath.Join(h.config.Dir, "dynos")
	left, err := os.ReadDir(disks)
	if err != nil || len(left) != 1 || left[0].Name() == d.ID {
		t.Fatalf("files of a warm dyno: %v, %v", left, err)
	}
	busy := filepath.Join(disks, left[0].Name(), "busy")
	must(t, os.Mkdir(busy, 0o755))
	must(t, unix.Mount("busy", busy, "tmpfs", 0, ""))
	if err := h.Delete(h.ctx, d.ID); err == nil {
		t.Error("deleted what is in use")
	}
	must(t, unix.Unmount(busy, 0))
	must(t, h.Delete(h.ctx, d.ID))
	if left, err := os.ReadDir(disks); err != nil || len(left) != 0 {
		t.Errorf("left: %v, %v", left, err)
	}
}
