package runtime_test

import (
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/dynod/dynod/runtime"
)

// mostInitMemory is what a dyno-init that sleeps may have to itself, in kB.
const mostInitMemory = 32

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

// TestReusedNumberIsNotTheCommands has a process end that got the command's number, while a stop waits for the last one. The
// number is free when the command's session has ended too.
func TestReusedNumberIsNotTheCommands(t *testing.T) {
	h := newHost(t)
	d := h.run(h.slug(nil), `mkfifo /tmp/go; trap 'exit 9' TERM
		setsid sh -c "trap '' TERM; echo $$; read x </tmp/go; (read x </tmp/go; exit 3) &" &
		while :; do wait; done`)
	d.out.await(h.ctx, t, "\n")
	number := strings.TrimSpace(d.out.String())
	exists := d.has("proc/" + number)
	must(t, h.Signal(h.ctx, d.ID, unix.SIGTERM))
	eventually(h.ctx, t, "the command has ended", func() bool { return !exists() })
	d.nextNumber(number)
	must(t, os.WriteFile(d.file("tmp/go"), []byte("\n"), 0))
	eventually(h.ctx, t, "another process has its number", exists)
	must(t, os.WriteFile(d.file("tmp/go"), []byte("\n"), 0))
	if exit := d.wait(); exit.Code != 9 {
		t.Errorf("got %+v", exit)
	}
}

// nextNumber is of the dyno's next process.
func (d *dyno) nextNumber(number string) {
	d.t.Helper()
	init, err := d.PID(d.ctx, d.ID)
	must(d.t, err)
	next, err := strconv.Atoi(number)
	must(d.t, err)
	script := fmt.Sprintf("echo %d >/proc/sys/kernel/ns_last_pid", next-1)
	out, err := exec.CommandContext(d.ctx, "nsenter", "--pid", "--target", strconv.Itoa(init), "sh", "-c", script).CombinedOutput()
	if err != nil {
		d.t.Fatalf("%v: %s", err, out)
	}
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
