package capture

import (
	"context"
	"log/slog"
	"time"
)

// recorder hands records to another handler from a goroutine of its own, and drops those that it does not get rid of: the
// log may lie on the disk that hangs.
type recorder struct {
	slog.Handler
	queue chan<- func()
}

// newRecorder gives a logger, and what ends it: that waits a second at most.
func newRecorder(log *slog.Logger) (*slog.Logger, func()) {
	queue, done := make(chan func(), 100), make(chan struct{})
	go func() {
		for {
			write := <-queue
			if write == nil {
				close(done)
				return
			}
			write()
		}
	}()
	return slog.New(recorder{log.Handler(), queue}), func() {
		last := time.After(time.Second)
		select {
		case queue <- nil:
			select {
			case <-done:
			case <-last:
			}
		case <-last:
		}
	}
}

// Handle never waits.
func (r recorder) Handle(ctx context.Context, record slog.Record) error {
	select {
	case r.queue <- func() { _ = r.Handler.Handle(ctx, record) }:
	default:
	}
	return nil
}

// WithAttrs is part of slog.Handler.
func (r recorder) WithAttrs(attrs []slog.Attr) slog.Handler {
	return recorder{r.Handler.WithAttrs(attrs), r.queue}
}

// WithGroup is part of slog.Handler.
func (r recorder) WithGroup(name string) slog.Handler {
	return recorder{r.Handler.WithGroup(name), r.queue}
}
