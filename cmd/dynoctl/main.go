// Command dynoctl shows and steers the dynos of one host from its command line. It is a client of the agent's
// AgentService and nothing more: it keeps no state, and what it can do every control plane can do.
package main

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"syscall"
)

// unversioned is the version of who builds without the Makefile.
const unversioned = "dev"

// version is set by the linker.
var version = unversioned

func main() {
	os.Exit(run())
}

func run() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal ends the process at once

	c := &ctl{in: os.Stdin, out: os.Stdout, errOut: os.Stderr, colour: mayColour(os.Stdout), terminal: isTerminal(os.Stdout)}
	cmd, err := c.root().ExecuteContextC(ctx)
	if err == nil || ctx.Err() != nil && c.following {
		return exitOK // a follower is ended by its user: that is its normal end
	}
	var status commandStatus
	if errors.As(err, &status) {
		return int(status)
	}
	c.complain(err)
	if len(cmd.Annotations) > 0 {
		return exitOfCtl
	}
	return c.exitCode(err)
}
