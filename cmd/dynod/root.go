package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/dynod/dynod/cmd/dynod/config"
	"github.com/dynod/dynod/cmd/dynod/logging"
)

// usageError is a command line that makes no sense, as opposed to a setting with a bad value.
type usageError struct{ error }

func newRoot() *cobra.Command {
	flags := &config.FlagSet{}
	root := &cobra.Command{
		Use:   "dynod",
		Short: "run dynos on this host",
		Long: "dynod runs dynos on this host as its control plane orders. Without a verb it is the agent, which stays in the\n" +
			"foreground until SIGTERM or SIGINT; its dynos run on without it. Every setting is a flag as well.",
		Args:          noArgs,
		RunE:          func(cmd *cobra.Command, _ []string) error { return serve(cmd.Context(), flags, runAgent) },
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	flags.Bind(root.PersistentFlags())
	root.PersistentFlags().SortFlags, root.Flags().SortFlags = false, false
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return &usageError{config.ExplainFlag(err)} })
	root.CompletionOptions.HiddenDefaultCmd = true
	root.AddCommand(captureCommand(flags), configCommand(flags), doctorCommand(flags), versionCommand(), docsCommand())
	return root
}

// noArgs refuses words that are no verb.
func noArgs(cmd *cobra.Command, args []string) error {
	if err := cobra.NoArgs(cmd, args); err != nil {
		return &usageError{err}
	}
	return nil
}

// service is what a long-running verb has to go by.
type service struct {
	cfg   config.Config
	load  func() (config.Config, error) // reads the settings again
	log   *slog.Logger
	level *slog.LevelVar // of log
}

// serve gives a long-running verb its settings, directories and log.
func serve(ctx context.Context, flags *config.FlagSet, run func(context.Context, service) error) error {
	s := service{level: new(slog.LevelVar), load: func() (config.Config, error) { return config.Load(flags.Sources(os.Environ())) }}
	var err error
	if s.cfg, err = s.load(); err != nil {
		return err
	}
	if err := config.MakeDirs(s.cfg); err != nil {
		return err
	}
	s.level.Set(s.cfg.Log.Level)
	s.log = logging.New(os.Stderr, s.level, s.cfg.Log.Format)
	logging.Use(s.log)
	makeRoom()
	return run(ctx, s)
}

func configCommand(flags *config.FlagSet) *cobra.Command {
	cmd := &cobra.Command{Use: "config", Short: "print and check settings", Args: noArgs, RunE: help}
	cmd.AddCommand(
		&cobra.Command{
			Use: "default", Short: "print the default file", Args: noArgs,
			RunE: printing(config.DefaultTOML),
		},
		&cobra.Command{
			Use: "reference", Short: "print the page of all settings", Args: noArgs, Hidden: true,
			RunE: printing(config.Reference),
		},
		&cobra.Command{
			Use: "check", Short: "say what is wrong with the settings that dynod would read here", Args: noArgs,
			RunE: func(cmd *cobra.Command, _ []string) error {
				if _, err := config.Load(flags.Sources(os.Environ())); err != nil {
					return err
				}
				_, err := fmt.Fprintln(cmd.OutOrStdout(), "configuration is good")
				return err
			},
		},
	)
	return cmd
}

// help is for a verb that needs another one behind it.
func help(cmd *cobra.Command, _ []string) error { return cmd.Help() }

func printing(text func() string) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, _ []string) error {
		_, err := cmd.OutOrStdout().Write([]byte(text()))
		return err
	}
}

func versionCommand() *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "print the version", Args: noArgs,
		RunE: printing(func() string { return strings.TrimSpace("dynod "+buildVersion()) + "\n" }),
	}
}
