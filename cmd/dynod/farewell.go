package main

import (
	"context"
	"log/slog"
	"time"

	"github.com/dynod/dynod/runtime"
	"github.com/dynod/dynod/systemd"
)

const (
	// farewell is what dynos get to end when the host goes down: the unit's TimeoutStopSec is longer.
	farewell = 20 * time.Second
	// stateLimit is how long the service manager may take to say how the host stands.
	stateLimit = 3 * time.Second
)

// sayFarewell ends the dynos when the host goes down, while capture still hears their last words. Nobody has ordered that: to
// the agent that comes after the boot they are lost.
func sayFarewell(r *runtime.Runtime, log *slog.Logger) {
	ctx, cancel := context.WithTimeout(context.Background(), farewell)
	defer cancel()
	asking, done := context.WithTimeout(ctx, stateLimit)
	defer done()
	if systemd.HostStops(asking) {
		log.Info("the host goes down: dynos are asked to end")
		r.Farewell(ctx)
	}
}
