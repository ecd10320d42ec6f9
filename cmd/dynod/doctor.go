package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/dynod/dynod/cmd/dynod/config"
	"github.com/dynod/dynod/cmd/dynod/doctor"
	"github.com/dynod/dynod/cmd/dynod/doctor/report"
)

// statusError ends the process with a status; what there is to say has been said.
type statusError int

func (s statusError) Error() string { return "" }

func doctorCommand(flags *config.FlagSet) *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use: "doctor", Short: "examine this host for what dynod needs, and change nothing", Args: noArgs,
		Long: "doctor examines this host for what dynod needs, whether an agent runs or not, and changes nothing. Every line is ok,\n" +
			"warning or failure; a line below says what to do. The exit status is 0 without a failure, 1 with one, and 78 for\n" +
			"settings that cannot be used, as of \"dynod config check\".",
		RunE: func(cmd *cobra.Command, _ []string) error {
			write, ok := map[string]func(io.Writer, report.Report) error{"text": writeText, "json": writeJSON}[output]
			if !ok {
				return &usageError{fmt.Errorf("--output %q: must be text or json", output)}
			}
			r, status := examine(cmd.Context(), flags)
			if err := write(cmd.OutOrStdout(), r); err != nil || status == 0 {
				return err
			}
			return statusError(status)
		},
	}
	cmd.Flags().StringVarP(&output, "output", "o", "text", "text or json")
	return cmd
}

func examine(ctx context.Context, flags *config.FlagSet) (r report.Report, status int) {
	sources := flags.Sources(os.Environ())
	cfg, err := config.Load(sources)
	if bad := (*config.Error)(nil); errors.As(err, &bad) {
		r = doctor.Refused(bad)
		r.Version = buildVersion()
		return r, exitConfig
	}
	h := doctor.Host{Config: cfg, Network: networkConfig(cfg), Source: sources.String(), Version: buildVersion()}
	if r = h.Examine(ctx); r.Failed() {
		status = exitFailed
	}
	return r, status
}

func writeText(w io.Writer, r report.Report) error { return r.Write(w) }

func writeJSON(w io.Writer, r report.Report) error {
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return fmt.Errorf("encode JSON: %w", err)
	}
	_, err = fmt.Fprintf(w, "%s\n", text)
	return err
}
