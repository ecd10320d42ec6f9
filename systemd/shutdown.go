package systemd

import (
	"context"
	"os/exec"
	"strings"
)

// HostStops says whether the service manager is ending everything because the host goes down or boots anew. False for a
// process that it does not supervise.
func HostStops(ctx context.Context) bool {
	if !Supervised() {
		return false
	}
	state, _ := exec.CommandContext(ctx, "systemctl", "is-system-running").Output() // an error too is a state
	return strings.TrimSpace(string(state)) == "stopping"
}
