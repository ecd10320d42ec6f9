// Package contender starts the same application in the same root file system by the same command with dynod, ctr,
// Docker and podman, each in its own way and all in one lab, and tells when what happened by the machine's one clock.
package contender

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dynod/dynod/agent/dyno"
)

// Contender is a way of starting. Its methods may be called by several goroutines.
type Contender interface {
	Name() string
	// Start orders one start of a command line in /app and returns when the order is accepted or under way.
	Start(ctx context.Context, line string) (Container, error)
}

// Detached is a contender that can start without a process of ours that stays.
type Detached interface {
	Contender
	// Detach starts and returns when the command runs.
	Detach(ctx context.Context, line string) (Container, error)
}

// Container is one start and what became of it.
type Container interface {
	// Ordered is when the order was about to be sent.
	Ordered() Clock
	// Line is the next line of standard output, and when it was here.
	Line(ctx context.Context) (Line, error)
	// Up is when the contender said that the port is bound; zero: it never says such a thing.
	Up(ctx context.Context) (Clock, error)
	// Stop orders SIGTERM and returns, when the contender has said that all is over, how long that took.
	Stop(ctx context.Context) (time.Duration, error)
}

// Clock is the machine's monotonic clock, the same in every container.
type Clock int64

// Now reads it.
func Now() Clock {
	var ts unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts) // cannot fail
	return Clock(ts.Nano())
}

// Since is the time between two readings.
func (c Clock) Since(before Clock) time.Duration { return time.Duration(c - before) }

// Line is a line of the application.
type Line struct {
	Text string
	At   Clock // when it was received
}

// Told is the clock that a line of test/apps/mark tells: "<word> <nanoseconds>".
func (l Line) Told(word string) (Clock, error) {
	value, ok := strings.CutPrefix(l.Text, word+" ")
	n, err := strconv.ParseInt(value, 10, 64)
	if !ok || err != nil {
		return 0, fmt.Errorf("line %q where %q was expected", l.Text, word)
	}
	return Clock(n), nil
}

// words are what a slug's command line is executed as, for all contenders.
func words(line string) []string {
	return dyno.Spec{Command: dyno.Command{Line: line}}.Arguments(dyno.Image{})
}
