package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/dynod/dynod/cmd/dynod/config"
	"github.com/dynod/dynod/logs/capture"
	"github.com/dynod/dynod/systemd"
)

func captureCommand(flags *config.FlagSet) *cobra.Command {
	return &cobra.Command{
		Use: "capture", Short: "hold the output of dynos, also while the agent is away", Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return serve(cmd.Context(), flags, runCapture) },
	}
}

func runCapture(ctx context.Context, s service) error {
	cfg, log := s.cfg, s.log
	kept, err := systemd.Kept()
	if err != nil {
		return err
	}
	c := capture.Config{
		Socket: cfg.CaptureSocket(), SpoolDir: cfg.SpoolDir, SpoolBytes: cfg.Logs.SpoolBytes,
		HostBytes: cfg.Logs.HostSpoolBytes, ReserveBytes: cfg.Logs.ReserveBytes, IngestBytes: cfg.Logs.IngestBytesPerSecond,
		NotifySocket: systemd.NotifySocket(),
	}
	for name, fd := range kept {
		c.Kept = append(c.Kept, capture.Kept{Name: name, FD: fd})
	}
	if err := returnPages(); err != nil {
		log.Warn("capture takes more memory than it needs", "error", err)
	}
	return capture.Run(ctx, c, nil, log)
}

// captureArgv starts a capture that reads the settings this agent has read: the same flags, and the environment that
// a child inherits. Under systemd it is empty: capture has a unit of its own there, and two would fight for the spool.
func captureArgv() ([]string, error) {
	if systemd.Supervised() {
		return nil, nil
	}
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find own binary: %w", err)
	}
	return captureArgs(self, os.Args[1:], os.Environ())
}

// captureArgs makes the path of the configuration absolute: capture has another working directory.
func captureArgs(self string, args, environ []string) ([]string, error) {
	flags, parser := &config.FlagSet{}, pflag.NewFlagSet("dynod", pflag.ContinueOnError)
	flags.Bind(parser)
	if err := parser.Parse(args); err != nil {
		return nil, fmt.Errorf("read own flags: %w", err)
	}
	argv := append([]string{self, "capture"}, args...)
	file := flags.Sources(environ).NamedFile()
	if file == "" {
		return argv, nil
	}
	file, err := filepath.Abs(file)
	if err != nil {
		return nil, fmt.Errorf("find configuration: %w", err)
	}
	return append(argv, "--config="+file), nil
}
