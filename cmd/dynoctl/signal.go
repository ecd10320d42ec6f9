package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	dynodv1 "github.com/dynod/dynod/proto/dynod/v1"
)

func (c *ctl) signal() *cobra.Command {
	return &cobra.Command{
		Use:     "signal DYNO SIGNAL",
		Aliases: []string{"kill"},
		Short:   "Send a signal to every process of a dyno",
		Long: `Signal sends a signal to every process of a dyno. SIGNAL is a name, SIGUSR1 or
USR1, or a number. SIGKILL and SIGSTOP are not for this command: see "dynoctl stop".`,
		Args:              cobra.ExactArgs(2),
		ValidArgsFunction: c.completeFirst,
		RunE: c.withAgent(func(ctx context.Context, agent dynodv1.AgentServiceClient, args []string) error {
			number, err := signalNumber(args[1])
			if err != nil {
				return usageError{err}
			}
			dyno, err := resolve(ctx, agent, args[0])
			if err != nil {
				return err
			}
			answer, err := agent.SignalDyno(ctx, &dynodv1.SignalDynoRequest{DynoId: dyno.GetId(), Signal: int32(number)})
			if err != nil || !c.json() {
				return err
			}
			return c.writeJSON(answer)
		}),
	}
}

// signalNumber reads a signal as kill(1) does.
func signalNumber(word string) (syscall.Signal, error) {
	const most = 64
	if n, err := strconv.Atoi(word); err == nil && n >= 1 && n <= most {
		return syscall.Signal(n), nil
	}
	name := strings.ToUpper(word)
	if !strings.HasPrefix(name, "SIG") {
		name = "SIG" + name
	}
	if n := unix.SignalNum(name); n != 0 {
		return n, nil
	}
	return 0, fmt.Errorf("%q is no signal", word)
}
