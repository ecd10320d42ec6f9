package systemd

import (
	"fmt"

	"github.com/coreos/go-systemd/v22/daemon"
)

// Supervised tells whether a service manager waits to be notified by this process.
func Supervised() bool { return NotifySocket() != "" }

// Ready says that the service serves: units ordered after it may start.
func Ready() error { return notify(daemon.SdNotifyReady) }

// Stopping says that the service is on its way out.
func Stopping() error { return notify(daemon.SdNotifyStopping) }

// Reloading says that settings are being read again; Ready says that it is done.
func Reloading() error {
	return notify(daemon.SdNotifyReloading + "\n" + daemon.SdNotifyMonotonicUsec())
}

func notify(state string) error {
	if _, err := daemon.SdNotify(false, state); err != nil {
		return fmt.Errorf("notify service manager: %w", err)
	}
	return nil
}
