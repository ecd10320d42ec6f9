package runtime_test

import (
	"io"
	"net"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/dynod/dynod/runtime/launch"
	"github.com/dynod/dynod/test/lab"
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

// freeze holds dyno-init, so that a test is the first to connect.
func freeze(t *testing.T, h *host, d *dyno) {
	t.Helper()
	pid, err := h.PID(h.ctx, d.ID)
	must(t, err)
	must(t, lab.Freeze(h.ctx, pid))
}

func thaw(t *testing.T, h *host, d *dyno) {
	t.Helper()
	pid, err := h.PID(h.ctx, d.ID)
	must(t, err)
	must(t, unix.Kill(pid, unix.SIGCONT))
}
