package runtime_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dynod/dynod/runtime"
	"github.com/dynod/dynod/runtime/quota"
	"github.com/dynod/dynod/test/lab"
)

// A dyno writes as much as it may and no more, as long as it lives and not beyond. Where the kernel has no quotas
// (natively), they are said to be none, and a bound in an order bounds nothing.
func TestDiskQuota(t *testing.T) {
	held := false
	h := newHost(t, func(c *runtime.Config) {
		var err error
		held, err = lab.ProjectQuotas(t.Context(), c.Dir, 128)
		must(t, err)
	})
	const fill = `for d in /app /tmp /var/tmp; do dd if=/dev/zero of=$d/x bs=1M count=4 2>&1 | grep -o 'quota exceeded'; done; du -cm /app/x /tmp/x /var/tmp/x | tail -n 1`
	if !held {
		if got := h.DiskQuota(); got != runtime.DiskQuotaNone {
			t.Errorf("said to be %q", got)
		}
		if out := h.bounded(8<<20, fill); !strings.HasPrefix(out, "12\t") {
			t.Errorf("got %q", out)
		}
		return
	}
	if got := h.DiskQuota(); got != runtime.DiskQuotaProject {
		t.Errorf("said to be %q", got)
	}
	for range 2 { // one after the other in one slot
		h.slots = 0
		if out := h.bounded(8<<20, fill); strings.Count(out, "quota exceeded\n") == 0 || strings.HasPrefix(lastLine(out), "12\t") {
			t.Errorf("got %q", out)
		}
		used, bounds, err := quota.Used(h.config.Dir, 0x64790000)
		if err != nil || used != (quota.Limit{}) || bounds != (quota.Limit{}) {
			t.Errorf("left: %+v of %+v, %v", used, bounds, err)
		}
	}
	for _, again := range []func(){func() {}, h.restart} {
		h.slots = 0
		remains := h.limited(runtime.Limits{Memory: 64 << 20, Disk: 8 << 20})
		h.slots = 0
		h.limited(runtime.Limits{Memory: 64 << 20, Disk: 9 << 20})
		again()
		must(t, h.Delete(h.ctx, remains.ID))
		if _, bounds, err := quota.Used(h.config.Dir, 0x64790000); err != nil || bounds.Bytes != 9<<20 {
			t.Errorf("remains of an earlier dyno in the slot took the bounds with them: %+v, %v", bounds, err)
		}
	}
	h.slots = 0
	if out := h.bounded(0, fill); !strings.HasPrefix(out, "12\t") {
		t.Errorf("without a bound: %q", out)
	}
	if out := h.bounded(8<<20, "seq 2000 | sed s:^:/tmp/: | xargs touch 2>&1 | grep -m 1 -o 'quota exceeded'"); !strings.Contains(out, "quota exceeded") {
		t.Errorf("2000 files: %q", out)
	}
}

// bounded is what a dyno with a bound of its disk says; nothing is left of it.
func (h *host) bounded(disk int64, script string) string {
	h.t.Helper()
	d := h.limited(runtime.Limits{Memory: 64 << 20, Disk: disk})
	must(h.t, d.launch("sh", "-c", script))
	d.wait()
	out := d.out.all(h.ctx, h.t)
	must(h.t, h.Delete(h.ctx, d.ID))
	if _, err := os.Stat(filepath.Join(h.config.Dir, "dynos", d.ID)); err == nil {
		h.t.Error("its files are left")
	}
	return out
}

func lastLine(text string) string {
	text = strings.TrimSuffix(text, "\n")
	return text[strings.LastIndexByte(text, '\n')+1:]
}
