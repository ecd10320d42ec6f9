package runtime_test

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/dynod/dynod/runtime"
)

// mostInitMemory is what dyno-init may have to itself, in kB.
const mostInitMemory = 2048

// TestInitIsSmall looks at one of two dynos: they share the pages of the program's file, as those of a host do.
func TestInitIsSmall(t *testing.T) {
	h, d := sleeper(t)
	big := h.created(h.slug(nil))
	must(t, big.Start(h.ctx, big.ID))
	var env []string
	for i := range 10 {
		env = append(env, fmt.Sprintf("BIG%d=%s", i, strings.Repeat("x", 100_000)))
	}
	must(t, big.launchPlan(runtime.Plan{Args: []string{"/bin/sleep", "1000"}, Env: env, Dir: "/"}))
	small := func(when string, d *dyno) {
		init, err := h.PID(h.ctx, d.ID)
		must(t, err)
		own := 0
		eventually(h.ctx, t, when+": dyno-init is small", func() bool {
			own = memory(t, init, "Private_Clean") + memory(t, init, "Private_Dirty")
			return own > 0 && own <= mostInitMemory
		})
		t.Logf("%s: %d kB", when, own)
	}
	small("while its command runs", d)
	small("with a large environment", big)
	e := d.exec(&terminal, "echo up; read x")
	e.hears("up")
	small("with one more command", d)
	e.say("\n")
	e.ends()
	for range 100 {
		d.exec(nil, "true").ends()
	}
	small("after a hundred more", d)
}

// memory is one line of what the kernel sums up of a process's memory, in kB.
func memory(t *testing.T, pid int, name string) int {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	must(t, err)
	_, after, _ := strings.Cut(string(text), name+":")
	var kB int
	_, err = fmt.Sscan(after, &kB)
	must(t, err)
	return kB
}
