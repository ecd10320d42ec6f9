package doctor

import (
	"context"
	"os"
	"slices"

	"github.com/prometheus/procfs"

	"github.com/dynod/dynod/cmd/dynod/doctor/report"
)

// capture looks who listens on its socket. It does not connect: capture serves the newest client alone.
func (h Host) capture(_ context.Context, n *report.Notes) {
	_, err := os.Stat("/run/systemd/system")
	systemd := err == nil
	switch {
	case listening(h.Config.CaptureSocket()):
		n.OK("listens on %s", h.Config.CaptureSocket())
	case listening(h.Config.API.Socket):
		n.Fail("systemctl status dynod-capture", "nobody listens on %s: output of dynos is not taken", h.Config.CaptureSocket())
	case systemd:
		n.Warn("systemctl start dynod-capture", "does not run")
	default:
		n.OK("does not run; the agent starts it")
	}
}

// listening says whether a process of this network namespace listens on a unix socket.
func listening(path string) bool {
	proc, err := procfs.NewDefaultFS()
	if err != nil {
		return false
	}
	sockets, err := proc.NetUNIX()
	if err != nil {
		return false
	}
	const accepts = 1 << 16 // __SO_ACCEPTCON
	return slices.ContainsFunc(sockets.Rows, func(s *procfs.NetUNIXLine) bool { return s.Path == path && s.Flags&accepts != 0 })
}
