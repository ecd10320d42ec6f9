package quota_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containerd/errdefs"

	"github.com/dynod/dynod/runtime/quota"
	"github.com/dynod/dynod/test/lab"
)

const project = 0x6479ffff

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestFilesystemsWithoutQuotas(t *testing.T) {
	l := lab.New(t)
	plain, counted := filepath.Join(l.Dir(), "plain"), filepath.Join(l.Dir(), "counted")
	must(t, lab.Ext4(t.Context(), plain, 16, "", ""))
	dirs := []string{l.Run(), plain}
	// Counted and not bounded: the kernel takes limits, and holds nobody to them.
	if held, err := lab.ProjectQuotas(t.Context(), filepath.Join(l.Dir(), "held"), 16); err != nil {
		t.Fatal(err)
	} else if held {
		must(t, lab.Ext4(t.Context(), counted, 16, "quota,project", ""))
		dirs = append(dirs, counted)
	}
	for _, dir := range dirs {
		if err := quota.Supported(dir); !errdefs.IsNotImplemented(err) {
			t.Errorf("%s: %v", dir, err)
		}
	}
	if err := quota.Supported(filepath.Join(l.Dir(), "nowhere")); err == nil || errdefs.IsNotImplemented(err) {
		t.Errorf("a directory that is not there: %v", err)
	}
}

// Natively, where the kernel has no format of quotas, this shows that nothing is claimed; on other hosts that a bound
// holds.
func TestBoundsHold(t *testing.T) {
	l := lab.New(t)
	fs := filepath.Join(l.Dir(), "held")
	held, err := lab.ProjectQuotas(t.Context(), fs, 32)
	must(t, err)
	if !held {
		t.Log("this kernel has no format of quotas (CONFIG_QFMT_V2): a bound is refused")
		if err := quota.Supported(fs); !errdefs.IsNotImplemented(err) {
			t.Errorf("supported: %v", err)
		}
		dir := filepath.Join(fs, "dyno")
		must(t, os.Mkdir(dir, 0o777))
		if err := quota.Assign(dir, project, quota.Limit{Bytes: 1 << 20}); err == nil {
			t.Error("a bound that nobody holds was taken")
		}
		return
	}
	must(t, quota.Supported(fs))
	dir := filepath.Join(fs, "dyno")
	must(t, os.Mkdir(dir, 0o755))
	must(t, quota.Assign(dir, project, quota.Limit{Bytes: 1 << 20, Files: 10}))
	below := filepath.Join(dir, "upper")
	must(t, os.Mkdir(below, 0o777))
	must(t, os.Chmod(below, 0o777))
	for _, d := range []string{dir, below} {
		if got, err := quota.Project(d); got != project || err != nil {
			t.Errorf("%s: project %d, %v", d, got, err)
		}
	}
	if out := write(below, "dd if=/dev/zero of=big bs=64k count=32"); !strings.Contains(out, "quota exceeded") {
		t.Errorf("2 MiB of 1: %s", out)
	}
	used, bounds, err := quota.Used(fs, project)
	if err != nil || used.Bytes > 1<<20 || used.Bytes < 1<<19 || bounds != (quota.Limit{Bytes: 1 << 20, Files: 10}) {
		t.Errorf("used %+v of %+v, %v", used, bounds, err)
	}
	if out := write(below, "rm big; for i in 1 2 3 4 5 6 7 8 9; do touch $i || exit; done"); !strings.Contains(out, "quota exceeded") {
		t.Errorf("more than 10 files: %s", out)
	}
	must(t, quota.Bound(dir, project, quota.Limit{}))
	if out := write(below, "dd if=/dev/zero of=big bs=64k count=32 && touch 11 12 13 && echo fine"); !strings.Contains(out, "fine") {
		t.Errorf("without a bound: %s", out)
	}
	if _, err := quota.Project(filepath.Join(fs, "gone")); !errdefs.IsNotFound(err) {
		t.Errorf("project of nothing: %v", err)
	}
}

// write runs a script as somebody whom bounds hold.
func write(dir, script string) string {
	cmd := exec.Command("setpriv", "--reuid=1000", "--regid=1000", "--clear-groups", "--bounding-set=-all", "sh", "-c", "cd "+dir+"; "+script)
	out, _ := cmd.CombinedOutput()
	return string(out)
}
