// Package logging makes the daemon's own log: lines for the journal, for a terminal or for a machine, on standard error.
// The output of dynos never passes through here.
package logging

import (
	"log/slog"
	"os"

	ctrlog "github.com/containerd/log"
	"github.com/coreos/go-systemd/v22/journal"
	"golang.org/x/sys/unix"
)

// New writes records of at least level to out, as format says: text, json, journal, or auto, which looks at where out
// leads.
func New(out *os.File, level slog.Leveler, format string) *slog.Logger {
	options := &slog.HandlerOptions{Level: level}
	switch resolve(out, format) {
	case "journal":
		return slog.New(newJournalHandler(out, level))
	case "text":
		return slog.New(slog.NewTextHandler(out, options))
	default:
		return slog.New(slog.NewJSONHandler(out, options))
	}
}

func resolve(out *os.File, format string) string {
	if format != "auto" {
		return format
	}
	if ok, err := journal.StderrIsJournalStream(); ok && err == nil && out == os.Stderr {
		return "journal"
	}
	if _, err := unix.IoctlGetTermios(int(out.Fd()), unix.TCGETS); err == nil {
		return "text"
	}
	return "json"
}

// Use makes log the one of libraries that ask for none: containerd's client writes through it too.
func Use(log *slog.Logger) {
	slog.SetDefault(log)
	ctrlog.UseSlog()
}
