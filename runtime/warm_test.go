package runtime_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/dynod/dynod/runtime"
	"github.com/dynod/dynod/test/lab"
)

// warm makes a container ahead for the slot of the next dyno.
func (h *host) warm() {
	h.t.Helper()
	must(h.t, h.Warm(h.ctx, runtime.Spare{Slot: h.slots, Stack: "small", Namespace: h.lab.Host(), Sysfs: h.sysfs}))
}

// stacked is a host whose stack is there.
func stacked(t *testing.T, change ...func(*runtime.Config)) *host {
	t.Helper()
	h := newHost(t, change...)
	_, err := h.Prepare(h.ctx, h.slug(nil))
	must(t, err)
	return h
}

func TestWarmDyno(t *testing.T) {
	h := stacked(t)
	h.warm()
	d := h.created(h.slug(map[string]lab.File{"hello": {Data: "hello\n"}}))
	must(t, d.Start(h.ctx, d.ID))
	must(t, d.launch("sh", "-c", "cat hello; hostname; cat /etc/hostname; echo new > hello; cat hello; grep /app /proc/self/mountinfo"))
	t.Log(d.wait())
	t.Log(d.out.all(h.ctx, t), d.err.all(h.ctx, t))
	entries, _ := os.ReadDir(filepath.Join(h.config.RunDir, d.ID))
	for _, e := range entries {
		t.Log(e.Name())
	}
}
