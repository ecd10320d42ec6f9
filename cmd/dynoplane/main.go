// Command dynoplane is a reference control plane, for demos, tests, benchmarks and as the example to write a real one
// against: it keeps what agents send upstream in plain files and sends orders from its command line. It schedules
// nothing, remembers no order, and is never needed in production.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/status"
)

// version is set by the linker.
var version = "dev"

func main() {
	os.Exit(run())
}

func run() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal ends the process at once

	root := &cobra.Command{
		Use:           "dynoplane",
		Short:         "Reference control plane of dynod: receives reports and logs, sends orders",
		Version:       version,
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.AddCommand(serveCommand(), orderCommand(), certsCommand())
	if err := root.ExecuteContext(ctx); err != nil {
		complain(err)
		return 1
	}
	return 0
}

// complain writes an error, and a line for each wrong field of an order.
func complain(err error) {
	s, ok := status.FromError(err)
	if !ok {
		fmt.Fprintln(os.Stderr, "dynoplane:", err)
		return
	}
	fmt.Fprintf(os.Stderr, "dynoplane: %s: %s\n", s.Code(), s.Message())
	for _, d := range s.Details() {
		bad, ok := d.(*errdetails.BadRequest)
		if !ok {
			continue
		}
		for _, v := range bad.GetFieldViolations() {
			fmt.Fprintf(os.Stderr, "  %s: %s\n", v.GetField(), v.GetDescription())
		}
	}
}
