package doctor

import (
	"context"
	"os"

	"github.com/dynod/dynod/cmd/dynod/doctor/report"
	"github.com/dynod/dynod/logs/capture"
)

// capture looks who listens on its socket. It does not connect: capture serves the newest client alone.
func (h Host) capture(_ context.Context, n *report.Notes) {
	_, err := os.Stat("/run/systemd/system")
	systemd := err == nil
	switch {
	case capture.Listens(h.Config.CaptureSocket()):
		n.OK("listens on %s", h.Config.CaptureSocket())
	case h.agentRuns():
		n.Fail("systemctl status dynod-capture", "nobody listens on %s: output of dynos is not taken", h.Config.CaptureSocket())
	case systemd:
		n.Warn("systemctl start dynod-capture", "does not run")
	default:
		n.OK("does not run; the agent starts it")
	}
}
