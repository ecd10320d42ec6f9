package runtime_test

import (
	"io"
	"net"
	"slices"
	"testing"

	"github.com/prometheus/procfs"
	"golang.org/x/sys/unix"

	"github.com/dynod/dynod/runtime/launch"
)

// askAs connects to a launch socket as this process, says what dyno-init says, and returns what is answered.
func askAs(t *testing.T, socket string) string {
	t.Helper()
	conn, err := net.Dial("unix", socket)
	must(t, err)
	defer conn.Close()
	_, _ = conn.Write(launch.Frame(launch.Waiting, nil)) // refused as soon as it is seen who asks
	heard, _ := io.ReadAll(conn)
	return string(heard)
}

// freeze holds dyno-init, so that a test is the first to connect. Threads that run go on for a moment after the signal.
func freeze(t *testing.T, h *host, d *dyno) {
	t.Helper()
	pid := stopOrGo(t, h, d, unix.SIGSTOP)
	eventually(h.ctx, t, "dyno-init has stopped", func() bool {
		threads, err := procfs.AllThreads(pid)
		must(t, err)
		return !slices.ContainsFunc(threads, func(p procfs.Proc) bool {
			stat, err := p.Stat()
			must(t, err)
			return stat.State != "T"
		})
	})
}

func thaw(t *testing.T, h *host, d *dyno) {
	t.Helper()
	stopOrGo(t, h, d, unix.SIGCONT)
}

func stopOrGo(t *testing.T, h *host, d *dyno, s unix.Signal) (pid int) {
	t.Helper()
	pid, err := h.PID(h.ctx, d.ID)
	must(t, err)
	must(t, unix.Kill(pid, s))
	return pid
}
