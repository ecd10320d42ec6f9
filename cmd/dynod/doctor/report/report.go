// Package report is the form of what doctor finds: dynod writes it and dynoctl adds to it. It finds nothing itself.
package report

import (
	"fmt"
	"io"
	"slices"
	"strings"
)

// Status says how bad a finding is.
type Status string

// The statuses, from good to bad.
const (
	OK      Status = "ok"
	Warning Status = "warning" // it works; an operator should look at it
	Failure Status = "failure" // dynos cannot run, or not as they must
)

// Finding is one thing that a check has seen.
type Finding struct {
	Check  string `json:"check"`
	Status Status `json:"status"`
	Text   string `json:"text"`
	Hint   string `json:"hint"` // what to do; empty where nothing is
}

// Report is all findings, in the order of the checks.
type Report struct {
	Version  string    `json:"version"` // of dynod
	Socket   string    `json:"socket"`  // of the agent; empty where the configuration does not tell
	Stopped  bool      `json:"stopped"` // no agent runs, whoever listens on its socket
	Findings []Finding `json:"findings"`
}

// Failed says whether anything is a failure.
func (r Report) Failed() bool {
	return slices.ContainsFunc(r.Findings, func(f Finding) bool { return f.Status == Failure })
}

// Write writes a line for each finding, and one below it for its hint.
func (r Report) Write(w io.Writer) error {
	width := 0
	for _, f := range r.Findings {
		width = max(width, len(f.Check))
	}
	var text strings.Builder
	for _, f := range r.Findings {
		fmt.Fprintf(&text, "%-7s  %-*s  %s\n", f.Status, width, f.Check, f.Text)
		if f.Hint != "" {
			fmt.Fprintf(&text, "%-7s  %-*s  %s\n", "", width, "", f.Hint)
		}
	}
	_, err := io.WriteString(w, text.String())
	return err
}

// Notes collects the findings of one check.
type Notes struct {
	Check string
	All   []Finding
}

// OK notes that something is as it should be.
func (n *Notes) OK(format string, args ...any) { n.add(OK, "", format, args...) }

// Warn notes what should be mended, with how.
func (n *Notes) Warn(hint, format string, args ...any) { n.add(Warning, hint, format, args...) }

// Fail notes what must be mended, with how.
func (n *Notes) Fail(hint, format string, args ...any) { n.add(Failure, hint, format, args...) }

func (n *Notes) add(s Status, hint, format string, args ...any) {
	text := strings.Join(strings.Fields(fmt.Sprintf(format, args...)), " ") // a line each, whatever an error says
	n.All = append(n.All, Finding{n.Check, s, text, hint})
}
