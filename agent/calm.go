package agent

import (
	"context"
	"time"
)

const (
	// quiet is how long after an order nothing is made ahead, so that its dyno has the CPUs.
	quiet = 25 * time.Millisecond
	// calmLimit is for what is made ahead on a host that always starts something.
	calmLimit = 5 * time.Second
)

// calm waits until no dyno is being started.
func (a *Agent) calm(ctx context.Context) {
	for end := time.Now().Add(calmLimit); a.ledger.busy() && time.Now().Before(end) && ctx.Err() == nil; {
		a.idle(ctx, quiet)
	}
}
