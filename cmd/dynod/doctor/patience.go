package doctor

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"github.com/pelletier/go-toml/v2"
	"golang.org/x/sys/unix"

	"github.com/dynod/dynod/cmd/dynod/doctor/report"
)

const (
	// shimLoad is containerd's setting of how long it waits for a shim when it comes back, until it kills the shim's dynos.
	shimLoad = "io.containerd.timeout.shim.load"
	// enough is what it should wait at least: its default of 5 s was seen to be too short.
	enough = 30 * time.Second
)

// patience looks how long containerd waits for the shims of living dynos when it is restarted.
func (h Host) patience(ctx context.Context, n *report.Notes) {
	wait, err := waitsForShims(ctx, h.Config.Containerd.Address)
	switch {
	case err != nil:
		n.Warn("", "how long containerd waits for a shim when it comes back is not known: %v", err)
	case wait < enough:
		n.Warn(fmt.Sprintf("set %q = \"1m\" below [timeouts] in containerd's configuration, and restart it", shimLoad),
			"a containerd that comes back waits for a shim for %s only, and then kills its dynos", wait)
	}
}

// waitsForShims has the containerd that listens at address print the configuration that it would read now.
func waitsForShims(ctx context.Context, address string) (time.Duration, error) {
	pid, err := listener(ctx, address)
	if err != nil {
		return 0, fmt.Errorf("find containerd's process: %w", err)
	}
	process := fmt.Sprintf("/proc/%d/", pid)
	line, err := os.ReadFile(process + "cmdline")
	if err != nil {
		return 0, fmt.Errorf("read containerd's command line: %w", err)
	}
	args := strings.Split(strings.TrimRight(string(line), "\x00"), "\x00")
	cmd := exec.CommandContext(ctx, process+"exe", append(args[1:], "config", "dump")...)
	cmd.Dir, cmd.WaitDelay = process+"cwd", time.Second
	out, err := cmd.Output()
	if err != nil {
		return 0, fmt.Errorf("containerd config dump: %w", err)
	}
	var settings struct{ Timeouts map[string]string }
	if err := toml.Unmarshal(out, &settings); err != nil {
		return 0, fmt.Errorf("containerd config dump: %w", err)
	}
	wait, err := time.ParseDuration(settings.Timeouts[shimLoad])
	if err != nil {
		return 0, fmt.Errorf("read %s: %w", shimLoad, err)
	}
	return wait, nil
}

// listener is the process that made a socket listen.
func listener(ctx context.Context, address string) (pid int32, err error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, "unix", address)
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	raw, err := conn.(syscall.Conn).SyscallConn()
	if err != nil {
		return 0, err
	}
	var peer *unix.Ucred
	failed := raw.Control(func(fd uintptr) { peer, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) })
	if err := errors.Join(failed, err); err != nil {
		return 0, err
	}
	return peer.Pid, nil
}
