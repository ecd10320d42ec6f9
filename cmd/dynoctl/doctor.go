package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/dynod/dynod/cmd/dynod/doctor/report"
)

// examineLimit is how long dynod may take for the host. Each of its checks has a limit of its own, below this.
const examineLimit = 30 * time.Second

func (c *ctl) doctor() *cobra.Command {
	var dynod, config string
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Examine the host and its agent, and say what to mend",
		Long: `doctor runs "dynod doctor", which examines this host for what dynos need, then
asks the agent if one runs, and changes nothing. Each line is ok, warning or failure; the
line below says what to do. It exits with 1 if anything is a failure, else 0.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if c.address != "" {
				return usageError{errors.New("--address: doctor examines the host that it runs on")}
			}
			r := examineHost(cmd.Context(), dynod, config)
			if r.Socket != "" && os.Getenv("DYNOD_SOCKET") == "" && !cmd.Flags().Changed("socket") {
				c.socket = r.Socket
			}
			r.Findings = append(r.Findings, c.examineAgent(cmd.Context(), r)...)
			if err := c.writeReport(r); err != nil || !r.Failed() {
				return err
			}
			return commandStatus(exitFailed)
		},
	}
	cmd.Flags().StringVar(&dynod, "dynod", "", "dynod binary (default: the one beside dynoctl, else that in PATH)")
	cmd.Flags().StringVar(&config, "config", "", "configuration file of the agent (default: the one that dynod reads)")
	return cmd
}

// examineHost runs dynod doctor. That it cannot is a finding too.
func examineHost(ctx context.Context, dynod, config string) (r report.Report) {
	n := report.Notes{Check: "dynod"}
	path, err := findDynod(dynod)
	if err != nil {
		n.Fail("install it, or name it with --dynod", "%v", err)
		return report.Report{Findings: n.All}
	}
	args := []string{"doctor", "--output", "json"}
	if config != "" {
		args = append(args, "--config", config)
	}
	ctx, cancel := context.WithTimeout(ctx, examineLimit)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.WaitDelay = time.Second
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	err = cmd.Run() // it fails with what it finds, too
	if json.Unmarshal(out.Bytes(), &r) != nil || len(r.Findings) == 0 {
		n.Fail("is it of the same version as dynoctl?", "%s doctor: %v: %s", path, err, errOut.String())
		return report.Report{Findings: n.All}
	}
	return r
}

func findDynod(named string) (string, error) {
	if named != "" {
		return named, nil
	}
	if self, err := os.Executable(); err == nil {
		beside := filepath.Join(filepath.Dir(self), "dynod")
		if _, err := os.Stat(beside); err == nil {
			return beside, nil
		}
	}
	return exec.LookPath("dynod")
}

// writeReport keeps a terminal safe from names that others chose.
func (c *ctl) writeReport(r report.Report) error {
	if c.json() {
		text, err := json.MarshalIndent(r, "", "  ")
		if err != nil {
			return fmt.Errorf("encode JSON: %w", err)
		}
		_, err = fmt.Fprintf(c.out, "%s\n", text)
		return err
	}
	for i := range r.Findings {
		f := &r.Findings[i]
		f.Check, f.Text, f.Hint = printable(f.Check), printable(f.Text), printable(f.Hint)
	}
	return r.Write(c.out)
}

// told says whether a warning is in a report already.
func told(r report.Report, warning string) bool {
	for _, f := range r.Findings {
		if f.Status != report.OK && strings.HasPrefix(warning, f.Text) {
			return true
		}
	}
	return false
}
