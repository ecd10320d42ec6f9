package agenttest

import (
	"context"
	"iter"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/dynod/dynod/logs"
)

// Logs is a fake agent.Logs that keeps platform lines in memory.
type Logs struct {
	mu    sync.Mutex
	lines map[string][]string
	to    map[string][]logs.Receiver
	stall <-chan struct{}
}

// NewLogs is an empty one.
func NewLogs() *Logs {
	return &Logs{lines: map[string][]string{}, to: map[string][]logs.Receiver{}}
}

// SetReceivers keeps them.
func (l *Logs) SetReceivers(id string, _ logs.Origin, receivers []logs.Receiver) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.to[id] = receivers
	return nil
}

// Receivers are those of a dyno.
func (l *Logs) Receivers(id string) []logs.Receiver {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.to[id])
}

// Lines is the platform lines of a dyno, in order.
func (l *Logs) Lines(id string) []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.lines[id])
}

// Open gives no pipes: the fake dyno writes nothing.
func (l *Logs) Open(context.Context, string) (logs.Pipes, error) { return logs.Pipes{}, nil }

// Restore takes nothing.
func (l *Logs) Restore(context.Context, string, []*os.File) error { return nil }

// Stall makes Platform hang, against its contract, until end is closed.
func (l *Logs) Stall(end <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.stall = end
}

// Platform keeps the line.
func (l *Logs) Platform(_ context.Context, id string, _ time.Time, text string) error {
	l.mu.Lock()
	stall := l.stall
	l.mu.Unlock()
	if stall != nil {
		<-stall
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines[id] = append(l.lines[id], text)
	return nil
}

// Drained is at once.
func (l *Logs) Drained(context.Context, string) error { return nil }

// Finish does nothing.
func (l *Logs) Finish(string) {}

// Shipped is at once.
func (l *Logs) Shipped(context.Context, string) error { return nil }

// Remove forgets the lines.
func (l *Logs) Remove(_ context.Context, id string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.lines, id)
	return nil
}

// List is the ids with lines.
func (l *Logs) List(context.Context) ([]string, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var ids []string
	for id := range l.lines {
		ids = append(ids, id)
	}
	return ids, nil
}

// Read yields the platform lines.
func (l *Logs) Read(_ context.Context, id string, _ logs.ReadOptions) iter.Seq2[logs.Line, error] {
	return func(yield func(logs.Line, error) bool) {
		for _, text := range l.Lines(id) {
			if !yield(logs.Line{Dyno: id, Stream: logs.Platform, Text: []byte(text)}, nil) {
				return
			}
		}
	}
}

// Account is empty.
func (l *Logs) Account() logs.Account { return logs.Account{} }

// Sinks are none.
func (l *Logs) Sinks(string) []logs.DynoSink { return nil }
