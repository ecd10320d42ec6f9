package rig

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Line is one log line as the control plane has written it down.
type Line struct {
	Stream string // stdout, stderr or platform
	Offset int64
	Size   int64
	Lost   int64
	Time   time.Time
	Text   string
}

// Received is every line of a dyno that the control plane has, in the order of its arrival. One that it is just writing is none yet.
func (r *Rig) Received(id string) ([]Line, error) {
	data, err := os.ReadFile(r.received(id))
	if os.IsNotExist(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var lines []Line
	for text := range bytes.Lines(data[:bytes.LastIndexByte(data, '\n')+1]) {
		line, err := parse(strings.TrimSuffix(string(text), "\n"))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", text, err)
		}
		lines = append(lines, line)
	}
	return lines, nil
}

// parse reads "<stream> <offset> <size> <lost> <time> <quoted text>".
func parse(text string) (l Line, err error) {
	f := strings.SplitN(text, " ", 6)
	if len(f) != 6 {
		return l, fmt.Errorf("%d fields", len(f))
	}
	l.Stream = f[0]
	for i, to := range []*int64{&l.Offset, &l.Size, &l.Lost} {
		if *to, err = strconv.ParseInt(f[i+1], 10, 64); err != nil {
			return l, err
		}
	}
	if l.Time, err = time.Parse(time.RFC3339Nano, f[4]); err != nil {
		return l, err
	}
	l.Text, err = strconv.Unquote(f[5])
	return l, err
}

// AwaitLine waits until a line with that text has arrived, and returns all lines.
func (r *Rig) AwaitLine(ctx context.Context, id, text string) ([]Line, error) {
	quoted := strings.Trim(strconv.Quote(text), `"`)
	err := Await(ctx, fmt.Sprintf("line %q of %s", text, id), func() (bool, error) {
		data, err := os.ReadFile(r.received(id))
		if os.IsNotExist(err) {
			return false, nil
		}
		at := bytes.Index(data, []byte(quoted))
		return at >= 0 && bytes.IndexByte(data[at:], '\n') >= 0, err
	})
	if err != nil {
		return nil, err
	}
	return r.Received(id)
}

func (r *Rig) received(id string) string { return filepath.Join(r.path("plane"), "logs", id+".log") }

// Await asks until ok, an error, or the end of patience. A ctx with a deadline of its own has its own patience.
func Await(ctx context.Context, what string, ok func() (bool, error)) error {
	if _, own := ctx.Deadline(); !own {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, patience)
		defer cancel()
	}
	for {
		done, err := ok()
		if done || err != nil {
			return err
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("%s: %w", what, ctx.Err())
		}
	}
}

// Sequence checks what one run of the test application's worker has said: "seq=1", "seq=2", … and at last
// "end seq=<n>", each once, in order, with no byte of the stream missing. It returns n.
func Sequence(lines []Line) (int, error) {
	next, at := 1, int64(0)
	for _, l := range lines {
		if l.Stream != "stdout" {
			continue
		}
		if l.Offset != at || l.Lost != 0 {
			return 0, fmt.Errorf("line %q at offset %d (lost %d), expected offset %d", l.Text, l.Offset, l.Lost, at)
		}
		at += l.Size
		switch l.Text {
		case fmt.Sprintf("seq=%d", next):
			next++
		case fmt.Sprintf("end seq=%d", next-1):
			return next - 1, nil
		default:
			return 0, fmt.Errorf("line %q where seq=%d should be", l.Text, next)
		}
	}
	return 0, fmt.Errorf("no end after seq=%d", next-1)
}
