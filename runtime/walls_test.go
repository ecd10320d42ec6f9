package runtime_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/dynod/dynod/runtime"
	"github.com/dynod/dynod/test/lab"
)

// TestSlugDynoSeesWhatTheContractSays runs one script and compares what it prints, line by line.
func TestSlugDynoSeesWhatTheContractSays(t *testing.T) {
	h := newHost(t)
	a := h.slug(map[string]lab.File{"old/file": {Data: "from the slug\n"}})
	checks := []struct{ name, script, want string }{
		{"user", `id -u; id -g; id -G`, "1000\n1000\n1000\n"},
		{"capabilities", `grep ^Cap /proc/self/status | tr -d '\t' | cut -d: -f2 | sort -u`, "0000000000000000\n"},
		{"no new privileges", `grep NoNewPrivs /proc/self/status | tr -d '\t'`, "NoNewPrivs:1\n"},
		{"seccomp filter", `grep Seccomp: /proc/self/status | tr -d '\t'`, "Seccomp:2\n"},
		{"user namespace", `tr -s ' ' </proc/self/uid_map`, " 0 FIRST 65536\n"},
		{"no new namespaces", `unshare -U true 2>/dev/null || echo refused`, "refused\n"},
		{"init", `cut -d ' ' -f 1,2 /proc/1/stat 2>/dev/null || echo hidden`, "1 (dyno-init)\n"},
		{"init's memory", `cat /proc/1/environ 2>/dev/null || echo hidden`, "hidden\n"},
		{"init's pipes", `ls /proc/1/fd 2>/dev/null || echo hidden`, "hidden\n"},
		{"session", `cut -d ' ' -f 1,5,6 /proc/$$/stat | tr ' ' '\n' | sort -u | wc -l`, "1\n"},
		{"stdin", `cat`, ""},
		{"working directory", `pwd`, "/app\n"},
		{"app", `cat old/file; echo new >old/file; cat old/file; stat -c %u:%g . old old/file`, "from the slug\nnew\n1000:1000\n1000:1000\n1000:1000\n"},
		{"stack", `touch /etc/x /usr/x /x 2>/dev/null || echo refused; awk '$2 == "/" {print substr($4, 1, 15)}' /proc/mounts`, "refused\nro,nosuid,nodev\n"},
		{"writable", `for d in /app /tmp /var/tmp /dev/shm; do touch $d/x && stat -c %u $d/x; done`, "1000\n1000\n1000\n1000\n"},
		{"modes", `stat -c '%a %u' / /etc /tmp /var/tmp /app`, "755 0\n755 0\n1777 0\n1777 0\n755 1000\n"},
		{"devices", `ls /dev`, "fd\nfull\nnull\nptmx\npts\nrandom\nshm\nstderr\nstdin\nstdout\ntty\nurandom\nzero\n"},
		{"shm", `df -k /dev/shm | awk 'NR == 2 {print $2}'`, "65536\n"},
		{"host's paths", `grep -c -e dynod-lab -e upperdir=/v /proc/mounts`, "0\n"},
		{"hosts", `cat /etc/hosts /etc/resolv.conf`, "127.0.0.1 localhost\nnameserver 192.0.2.1\n"},
		{"passwd", `grep :1000: /etc/passwd | cut -d: -f3,4,6`, "1000:1000:/app\n"},
		{"quota", `cat /sys/fs/cgroup/memory/memory.limit_in_bytes`, "67108864\n"},
		{"kernel settings", `echo 1 2>/dev/null >/proc/sys/kernel/panic || echo refused`, "refused\n"},
		{"masked", `cat /proc/kcore /proc/timer_list 2>/dev/null; ls -A /proc/acpi /sys/firmware 2>/dev/null | grep -v : | wc -w`, "0\n"},
		{"core size", `ulimit -c`, "0\n"},
		{"network namespace", `test -d /sys/class/net/lo && echo lo`, "lo\n"},
		{"sysfs", `touch /sys/class/net/lo/mtu 2>/dev/null; echo 9 2>/dev/null >/sys/class/net/lo/mtu || echo refused`, "refused\n"},
	}
	for _, c := range checks {
		d := h.run(a, "cd /app; "+c.script)
		d.wait()
		want := strings.ReplaceAll(c.want, "FIRST", strconv.Itoa(int(h.config.FirstID)+d.Slot*65536))
		if got := d.out.all(h.ctx, t); got != want {
			t.Errorf("%s: got %q, want %q; stderr %q", c.name, got, want, d.err)
		}
		must(t, h.Delete(h.ctx, d.ID))
	}
}

func TestHostname(t *testing.T) {
	h := newHost(t)
	d := h.run(h.slug(nil), `hostname; cat /etc/hostname`)
	if exit, got := d.wait(), d.out.all(h.ctx, t); exit.Code != 0 || got != d.ID+"\n"+d.ID+"\n" {
		t.Errorf("got %q, code %d: %s", got, exit.Code, d.err)
	}
}

// TestDirectoriesOfTheSlugCanBeRenamed calls the kernel directly, because mv copies where it cannot rename.
func TestDirectoriesOfTheSlugCanBeRenamed(t *testing.T) {
	h := newHost(t)
	path, err := probe()
	must(t, err)
	a := h.slug(map[string]lab.File{"probe": {From: path, Mode: 0o755}, "old/file": {Data: "x\n"}})
	d := h.run(a, `./probe old new && cat new/file`)
	if exit, got := d.wait(), d.out.all(h.ctx, t); exit.Code != 0 || got != "x\n" {
		t.Errorf("got %q, code %d: %s", got, exit.Code, d.err)
	}
}

// TestSeccompStopsWhatTheContractSays calls the kernel directly, because a missing program proves nothing.
func TestSeccompStopsWhatTheContractSays(t *testing.T) {
	h := newHost(t)
	path, err := probe()
	must(t, err)
	d := h.run(h.slug(map[string]lab.File{"probe": {From: path, Mode: 0o755}}), `./probe`)
	d.wait()
	for line := range strings.Lines(d.out.all(h.ctx, t)) {
		name, got, _ := strings.Cut(strings.TrimSpace(line), " ")
		want := "EPERM"
		switch name {
		case "clone3":
			want = "ENOSYS"
		case "socket-unix", "socket-inet", "socket-inet6", "socket-netlink", "socketpair-unix":
			want = "ok"
		}
		if got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
	if n := strings.Count(d.out.String(), "\n"); n < 20 {
		t.Errorf("only %d calls tried: %s%s", n, d.out, d.err)
	}
}

func TestEnvironmentIsExact(t *testing.T) {
	h := newHost(t)
	env := []string{"PATH=/bin", "ODD=\x01\xff line\nbreak = \t'\"$(id)", "EMPTY=", "ODD=again", "no equals sign", "BIG0=" + strings.Repeat("x", 100_000)}
	for i := range 3 {
		env = append(env, fmt.Sprintf("MORE%d=%s", i, strings.Repeat("y", 100_000)))
	}
	d := h.created(h.slug(nil))
	must(t, d.Start(h.ctx, d.ID))
	must(t, d.launchPlan(runtime.Plan{Args: []string{"cat", "/proc/self/environ"}, Env: env, Dir: "/tmp"}))
	want := strings.Join(env, "\x00") + "\x00"
	if got := d.out.all(h.ctx, t); got != want {
		t.Errorf("environment of %d bytes differs from the %d ordered", len(got), len(want))
	}
}

// TestNoEnvironmentOnDisk looks for a variable in every file that a running dyno could have left on disk.
func TestNoEnvironmentOnDisk(t *testing.T) {
	h := newHost(t)
	const secret = "a4c1f-configuration-value-5e2b"
	d := h.created(h.slug(nil))
	must(t, d.Start(h.ctx, d.ID))
	must(t, d.launchPlan(runtime.Plan{
		Args: []string{"sh", "-c", "echo up; sleep 1000"}, Env: []string{"PATH=/bin", "SECRET=" + secret}, Dir: "/app",
	}))
	d.out.await(h.ctx, t, "up")
	other := plan(&terminal, "sh", "-c", "echo up; read x")
	other.Env = append(other.Env, "SECRET="+secret)
	p, err := d.Exec(h.ctx, d.ID, other)
	must(t, err)
	t.Cleanup(func() { must(t, p.Close()) })
	h.caller(p.Stdio()).hears("up")
	files := 0
	err = filepath.WalkDir(h.lab.Dir(), func(path string, e os.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case path == h.lab.Run():
			return filepath.SkipDir // tmpfs
		case !e.Type().IsRegular():
			return nil
		}
		files++
		data, err := os.ReadFile(path)
		if strings.Contains(string(data), secret) {
			t.Errorf("the environment is in %s", path)
		}
		return err
	})
	must(t, err)
	if files < 10 {
		t.Errorf("only %d files looked at", files)
	}
}

func TestProgramsReopenTheirOutput(t *testing.T) {
	h := newHost(t)
	d := h.run(h.slug(nil), `echo one >/dev/stdout; echo two >>/dev/stderr; echo three >/proc/self/fd/1`)
	d.wait()
	if got := d.out.all(h.ctx, t) + d.err.all(h.ctx, t); got != "one\nthree\ntwo\n" {
		t.Errorf("got %q", got)
	}
}
