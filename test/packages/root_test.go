package packages_test

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dynod/dynod/test/lab"
)

// cached is a Debian with what the package depends on; made once, then only read.
const cached = "../../build/cache/packages-bookworm"

// root is a Debian of the test's own. Its commands have namespaces of their own for mounts, network and processes.
type root struct {
	t   *testing.T
	dir string
}

func newRoot(t *testing.T) root {
	t.Helper()
	lab.Root(t)
	if _, err := os.Stat(cached); errors.Is(err, fs.ErrNotExist) {
		bootstrap(t)
	}
	lower, err := filepath.Abs(cached)
	if err != nil {
		t.Fatal(err)
	}
	r := root{t, t.TempDir()}
	work := t.TempDir()
	options := "lowerdir=" + lower + ",upperdir=" + filepath.Join(work, "upper") + ",workdir=" + filepath.Join(work, "work")
	for _, dir := range []string{"upper", "work"} {
		if err := os.Mkdir(filepath.Join(work, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := unix.Mount("overlay", r.dir, "overlay", 0, options); err != nil {
		t.Fatalf("mount root: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(r.dir, unix.MNT_DETACH); err != nil {
			t.Errorf("unmount root: %v", err)
		}
	})
	return r
}

// bootstrap leaves nothing behind that is not whole.
func bootstrap(t *testing.T) {
	t.Helper()
	partial := cached + ".partial"
	if err := errors.Join(os.RemoveAll(partial), os.MkdirAll(filepath.Dir(cached), 0o755)); err != nil {
		t.Fatal(err)
	}
	succeed(t, command(t, 10*time.Minute, "mmdebstrap", "--variant=minbase", "--include=containerd,runc,nftables,systemd",
		"bookworm", partial))
	if err := os.Rename(partial, cached); err != nil {
		t.Fatal(err)
	}
}

func (r root) command(name string, args ...string) *exec.Cmd {
	chroot := append([]string{
		"--mount", "--net", "--ipc", "--uts", "--pid", "--fork", "--kill-child",
		"sh", "-c", `mount -t proc proc "$0/proc" && exec chroot "$0" "$@"`, r.dir, name,
	}, args...)
	cmd := command(r.t, 3*time.Minute, "unshare", chroot...)
	cmd.Env = []string{"PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "DEBIAN_FRONTEND=noninteractive", "LC_ALL=C.UTF-8"}
	return cmd
}

func (r root) run(name string, args ...string) string {
	r.t.Helper()
	return succeed(r.t, r.command(name, args...))
}

func (r root) exists(path string) bool {
	_, err := os.Lstat(filepath.Join(r.dir, path))
	return err == nil
}

func (r root) write(path, content string, mode os.FileMode) {
	r.t.Helper()
	path = filepath.Join(r.dir, path)
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(content), mode)); err != nil {
		r.t.Fatal(err)
	}
}

// files are all there are but dpkg's own books, logs and caches.
func (r root) files() (all []string) {
	r.t.Helper()
	err := filepath.WalkDir(r.dir, func(path string, entry fs.DirEntry, err error) error {
		name := strings.TrimPrefix(path, r.dir)
		switch name {
		case "/var/lib/dpkg", "/var/log", "/var/cache":
			return filepath.SkipDir
		}
		all = append(all, name)
		return err
	})
	if err != nil {
		r.t.Fatal(err)
	}
	return all
}

// systemctl says that every unit is active, leaves to the real one what needs no running systemd, and writes down the rest.
const systemctl = `#!/bin/sh
case "$*" in
*is-active*) ;;
*is-enabled* | *--root*) SYSTEMD_OFFLINE=1 exec /bin/systemctl "$@" ;;
*) echo systemctl "$@" >>/calls ;;
esac
`

// boot makes the root look as if systemd ran. A stand-in for dynoctl, which would find no agent, is called as well.
func (r root) boot() {
	r.t.Helper()
	r.write("run/systemd/system/.keep", "", 0o644)
	r.write("usr/local/bin/systemctl", systemctl, 0o755)
	r.write("usr/local/bin/dynoctl", "#!/bin/sh\necho dynoctl \"$@\" >>/calls\n", 0o755)
}

// shutdown takes away what boot has brought.
func (r root) shutdown() {
	r.t.Helper()
	for _, path := range []string{"run/systemd", "usr/local/bin/systemctl", "usr/local/bin/dynoctl"} {
		if err := os.RemoveAll(filepath.Join(r.dir, path)); err != nil {
			r.t.Fatal(err)
		}
	}
}

// calls are what was done since the last look, without the flags.
func (r root) calls() string {
	r.t.Helper()
	path := filepath.Join(r.dir, "calls")
	content, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		r.t.Fatal(err)
	}
	_ = os.Remove(path)
	return strings.NewReplacer(" --quiet", "", " --system", "").Replace(string(content))
}
