package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// envMark is the environment variable, naming the lab's directory, by which what a lab's commands start is known.
const envMark = "LAB_DIR"

// pollEvery is how long the lab waits before it looks again at what the kernel has no event for.
const pollEvery = 20 * time.Millisecond

// mark tells a lab's processes from all others.
type mark struct {
	dir    string          // named at the start of an argument, after its "=", or by envMark
	cgroup string          // containers lie below it
	netns  map[uint64]bool // inodes of the network namespaces pinned below dir
	spare  []int           // never ours: this process and those above it
}

func (l *Lab) mark() mark {
	return mark{dir: l.dir, cgroup: l.CgroupParent(), netns: pinnedNetns(l.dir), spare: ancestors()}
}

// process is one process of the lab as seen in one look at /proc.
type process struct {
	pid    int
	args   []string
	zombie bool
}

// Processes are the numbers of the lab's living processes: what its commands started, and what runs in its containers.
func (l *Lab) Processes() ([]int, error) {
	found, err := l.mark().find()
	var pids []int
	for _, p := range found {
		if !p.zombie {
			pids = append(pids, p.pid)
		}
	}
	return pids, err
}

// find lists the lab's processes. Those that end during the look are left out.
func (m mark) find() ([]process, error) {
	pids, err := allPIDs()
	if err != nil {
		return nil, err
	}
	var found []process
	for _, pid := range pids {
		if slices.Contains(m.spare, pid) {
			continue
		}
		if p, ours := m.look(pid); ours {
			found = append(found, p)
		}
	}
	return found, nil
}

func allPIDs() ([]int, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	var pids []int
	for _, e := range entries {
		if pid, err := strconv.Atoi(e.Name()); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids, nil
}

// look reads one process. What cannot be read has ended, or is a kernel thread: not ours.
func (m mark) look(pid int) (process, bool) {
	dir := procDir(pid)
	p := process{pid: pid, args: fields(dir + "/cmdline"), zombie: state(dir) == 'Z'}
	return p, m.inArgs(p.args) || m.inEnv(fields(dir+"/environ")) || m.inCgroup(dir) || m.inNetns(dir)
}

func (m mark) inArgs(args []string) bool {
	return slices.ContainsFunc(args, func(arg string) bool {
		_, value, _ := strings.Cut(arg, "=")
		value = strings.TrimPrefix(value, "unix://")
		return below(arg, m.dir) || below(value, m.dir)
	})
}

func (m mark) inEnv(env []string) bool { return slices.Contains(env, envMark+"="+m.dir) }

func (m mark) inCgroup(dir string) bool {
	data, _ := os.ReadFile(dir + "/cgroup")
	for line := range strings.Lines(string(data)) {
		_, path, ok := strings.Cut(strings.TrimSpace(line), ":/")
		if ok && below("/"+path, m.cgroup) {
			return true
		}
	}
	return false
}

func (m mark) inNetns(dir string) bool {
	var st unix.Stat_t
	return unix.Stat(dir+"/ns/net", &st) == nil && m.netns[st.Ino]
}

// below says whether path is dir or lies in it.
func below(path, dir string) bool {
	rest, ok := strings.CutPrefix(path, dir)
	return ok && (rest == "" || rest[0] == '/')
}

func fields(file string) []string {
	data, _ := os.ReadFile(file)
	return strings.FieldsFunc(string(data), func(r rune) bool { return r == 0 })
}

// stat returns the fields of /proc/<pid>/stat after the command's name, which may itself hold spaces and brackets.
func stat(dir string) []string {
	data, _ := os.ReadFile(dir + "/stat")
	return strings.Fields(string(data[bytes.LastIndexByte(data, ')')+1:]))
}

func procDir(pid int) string { return filepath.Join("/proc", strconv.Itoa(pid)) }

func state(dir string) byte {
	if f := stat(dir); len(f) > 0 {
		return f[0][0]
	}
	return 0
}

// parent is 0 when the process is gone.
func parent(pid int) int {
	f := stat(procDir(pid))
	if len(f) < 2 {
		return 0
	}
	ppid, _ := strconv.Atoi(f[1])
	return ppid
}

func ancestors() []int {
	var pids []int
	for pid := os.Getpid(); pid > 0; pid = parent(pid) {
		pids = append(pids, pid)
	}
	return pids
}

// pinnedNetns finds the network namespaces mounted below dir. The machine's own is left out whatever pins it: its
// processes are everybody's.
func pinnedNetns(dir string) map[uint64]bool {
	pinned := map[uint64]bool{}
	for _, m := range mountsBelow(dir) {
		var st unix.Stat_t
		if m.FSType == "nsfs" && unix.Stat(m.MountPoint, &st) == nil {
			pinned[st.Ino] = true
		}
	}
	for _, self := range []string{"/proc/self/ns/net", "/proc/1/ns/net"} {
		var st unix.Stat_t
		if unix.Stat(self, &st) == nil {
			delete(pinned, st.Ino)
		}
	}
	return pinned
}

// killAll sends SIGKILL to every process of the lab until none is left: those killed may have started more
// meanwhile. Zombies count as gone; whoever started them reaps them.
func killAll(ctx context.Context, m mark) error {
	for {
		found, err := m.find()
		if err != nil {
			return err
		}
		found = slices.DeleteFunc(found, func(p process) bool { return p.zombie })
		if len(found) == 0 {
			return nil
		}
		for _, p := range found {
			if err := m.kill(p.pid); err != nil {
				return err
			}
		}
		if !pause(ctx) {
			return fmt.Errorf("kill processes of %s: %w: %v", m.dir, ctx.Err(), found)
		}
	}
}

// kill looks again after the process is pinned by a descriptor: the number may have passed to another.
func (m mark) kill(pid int) error {
	fd, err := unix.PidfdOpen(pid, 0)
	if errors.Is(err, unix.ESRCH) || errors.Is(err, unix.EINVAL) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("open process %d: %w", pid, err)
	}
	defer unix.Close(fd)
	if _, ours := m.look(pid); !ours {
		return nil
	}
	if err := unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("kill process %d: %w", pid, err)
	}
	return nil
}

// pause waits a little before the next look, or says false when ctx has ended.
func pause(ctx context.Context) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(pollEvery):
		return true
	}
}

// gone says whether an error only means that the thing no longer exists.
func gone(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENODEV)
}
