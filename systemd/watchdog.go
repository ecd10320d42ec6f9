package systemd

import (
	"context"
	"fmt"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
)

// feedings is how often the watchdog is fed in the time that it allows.
const feedings = 3

// Watchdog tells the service manager that the service works, each time that pulse has returned nil, until ctx ends. A
// pulse that fails or hangs is not told, and ends the service after the time that its unit allows (WatchdogSec). Until
// the service is ready, a pulse gives it that much more time to become so. Where nobody watches, it returns at once.
func Watchdog(ctx context.Context, pulse func(context.Context) error) error {
	allowed, err := daemon.SdWatchdogEnabled(false)
	if err != nil {
		return fmt.Errorf("read watchdog settings: %w", err)
	}
	if allowed == 0 {
		return nil
	}
	ticker := time.NewTicker(allowed / feedings)
	defer ticker.Stop()
	works := fmt.Sprintf("%s\nEXTEND_TIMEOUT_USEC=%d", daemon.SdNotifyWatchdog, allowed.Microseconds())
	for {
		if err := feed(ctx, allowed, pulse, works); err != nil {
			return err
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return nil
		}
	}
}

func feed(ctx context.Context, within time.Duration, pulse func(context.Context) error, works string) error {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	if pulse(ctx) != nil {
		return nil
	}
	return notify(works)
}
