// Command dynod is the daemon of a host: without a verb it is the agent that runs dynos, "dynod capture" is the holder
// of their output. This package reads the configuration and puts the parts together; it has no behaviour of its own.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/dynod/dynod/cmd/dynod/config"
)

// Exit codes, those above 2 as in sysexits.h. The unit files do not start dynod again after exitUsage and exitConfig.
const (
	exitFailed = 1
	exitUsage  = 64
	exitConfig = 78
)

func main() { os.Exit(run(os.Args[1:])) }

// run ends by itself, or soon after the first SIGTERM or SIGINT; a second one kills.
func run(args []string) int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	context.AfterFunc(ctx, stop)

	root := newRoot()
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	complain(err)
	return exitCode(err)
}

// complain says what went wrong, one problem a line.
func complain(err error) {
	if err == nil || err.Error() == "" {
		return
	}
	for problem := range strings.SplitSeq(err.Error(), "\n") {
		fmt.Fprintf(os.Stderr, "dynod: %s\n", problem)
	}
}

func exitCode(err error) int {
	var usage *usageError
	var bad *config.Error
	var status statusError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &usage):
		return exitUsage
	case errors.As(err, &bad):
		return exitConfig
	case errors.As(err, &status):
		return int(status)
	default:
		return exitFailed
	}
}
