package network_test

import (
	"log/slog"
	"slices"
	"strings"
	"sync"
)

// lines is a log that can be read while it is written.
type lines struct {
	mu  sync.Mutex
	all []string
}

func (l *lines) Write(line []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all = append(l.all, string(line))
	return len(line), nil
}

// with are the lines that have a text in them.
func (l *lines) with(text string) []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(l.all), func(line string) bool { return !strings.Contains(line, text) })
}

// logTo starts the Network anew with this log.
func (h *host) logTo(l *lines) {
	h.t.Helper()
	h.log = slog.NewTextHandler(l, &slog.HandlerOptions{Level: slog.LevelDebug})
	h.restart()
}
