package systemd

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
)

// Supervised tells whether a service manager waits to be notified by this process.
func Supervised() bool { return os.Getenv("NOTIFY_SOCKET") != "" }

// Ready says that the service serves: units ordered after it may start.
func Ready() error { return notify(daemon.SdNotifyReady) }

// Stopping says that the service is on its way out.
func Stopping() error { return notify(daemon.SdNotifyStopping) }

// Status is the line that "systemctl status" shows, such as "12 dynos".
func Status(text string) error {
	return notify("STATUS=" + strings.ReplaceAll(text, "\n", " "))
}

func notify(state string) error {
	if _, err := daemon.SdNotify(false, state); err != nil {
		return fmt.Errorf("notify service manager: %w", err)
	}
	return nil
}

// BeatInterval is how often Watchdog wants a beat: half of the time after which the service manager kills a silent
// service (WatchdogSec=), as sd_watchdog_enabled(3) advises. Zero: nobody watches.
func BeatInterval() (time.Duration, error) {
	period, err := daemon.SdWatchdogEnabled(false)
	if err != nil {
		return 0, fmt.Errorf("read watchdog period: %w", err)
	}
	return period / 2, nil
}

// Watchdog passes each beat on to the service manager until ctx ends or beats is closed. A beat has to come from the
// loop whose life matters: when that loop hangs no beat comes, and the service manager acts. Nobody watching, beats
// are taken and dropped.
func Watchdog(ctx context.Context, beats <-chan struct{}) error {
	interval, err := BeatInterval()
	if err != nil {
		return err
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case _, ok := <-beats:
			if !ok {
				return nil
			}
		}
		if interval == 0 {
			continue
		}
		if err := notify(daemon.SdNotifyWatchdog); err != nil {
			return err
		}
	}
}
