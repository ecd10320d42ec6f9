package logging

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"sync"

	"github.com/coreos/go-systemd/v22/journal"
)

// journalHandler writes a line without time, which the journal knows, behind a priority in the form that it reads
// from standard error (sd-daemon(3)).
type journalHandler struct {
	slog.Handler // writes into line
	line         *line
}

// line is where one record is put together; handlers made of one another share it.
type line struct {
	sync.Mutex
	bytes.Buffer
	out io.Writer
}

func newJournalHandler(out io.Writer, level slog.Leveler) journalHandler {
	l := &line{out: out}
	text := slog.NewTextHandler(&l.Buffer, &slog.HandlerOptions{Level: level, ReplaceAttr: withoutTime})
	return journalHandler{text, l}
}

func withoutTime(groups []string, a slog.Attr) slog.Attr {
	if len(groups) == 0 && (a.Key == slog.TimeKey || a.Key == slog.LevelKey) {
		return slog.Attr{}
	}
	return a
}

func (h journalHandler) Handle(ctx context.Context, r slog.Record) error {
	h.line.Lock()
	defer h.line.Unlock()
	h.line.Reset()
	fmt.Fprintf(&h.line.Buffer, "<%d>", priority(r.Level))
	if err := h.Handler.Handle(ctx, r); err != nil {
		return err
	}
	_, err := h.line.out.Write(h.line.Bytes())
	return err
}

func (h journalHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return journalHandler{h.Handler.WithAttrs(attrs), h.line}
}

func (h journalHandler) WithGroup(name string) slog.Handler {
	return journalHandler{h.Handler.WithGroup(name), h.line}
}

// priority is syslog's word for a level.
func priority(l slog.Level) journal.Priority {
	switch {
	case l >= slog.LevelError:
		return journal.PriErr
	case l >= slog.LevelWarn:
		return journal.PriWarning
	case l >= slog.LevelInfo:
		return journal.PriInfo
	default:
		return journal.PriDebug
	}
}
