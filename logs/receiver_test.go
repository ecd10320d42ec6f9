package logs_test

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/dynod/dynod/logs"
)

// receiver is a sink that does what a control plane does: it drops what it has and puts the bytes together again.
type receiver struct {
	t       testing.TB
	mu      sync.Mutex
	streams map[logs.Key]*received
	total   int64
	grown   chan struct{}
	before  func(logs.Batch) error              // called first, if set
	ack     func(logs.Batch, logs.Ack) logs.Ack // changes the ack, if set
	unsure  bool                                // after a power cut: what is told as missing may be here in part
}

type received struct {
	bytes []byte
	lines []logs.Line
	next  int64
	lost  int64
}

func newReceiver(t testing.TB) *receiver {
	return &receiver{t: t, streams: map[logs.Key]*received{}, grown: make(chan struct{})}
}

func (r *receiver) Send(_ context.Context, b logs.Batch) (logs.Ack, error) {
	if r.before != nil {
		if err := r.before(b); err != nil {
			return logs.Ack{}, err
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if size := textBytes(b); len(b.Runs) == 0 || size > 512<<10 {
		r.t.Errorf("batch of %d runs with %d bytes", len(b.Runs), size)
	}
	ack := logs.Ack{Offsets: map[logs.Key]int64{}}
	for _, run := range b.Runs {
		run.Text = bytes.Clone(run.Text)
		for line := range run.Lines() {
			s := r.stream(run.Key)
			if begin := line.Offset - line.Lost; r.unsure && line.LostLines == 0 && begin < s.next && s.next < line.Offset {
				line.Lost = line.Offset - s.next
			}
			if err := s.take(line); err != nil {
				r.t.Errorf("%v: %v", run.Key, err)
			}
			ack.Offsets[run.Key] = s.next
			r.total += line.Size
		}
	}
	close(r.grown)
	r.grown = make(chan struct{})
	if r.ack != nil {
		ack = r.ack(b, ack)
	}
	return ack, nil
}

func (r *receiver) stream(k logs.Key) *received {
	if r.streams[k] == nil {
		r.streams[k] = &received{}
	}
	return r.streams[k]
}

// take drops what was seen before, and refuses everything else that does not follow exactly.
func (s *received) take(line logs.Line) error {
	if line.End() <= s.next {
		return s.again(line)
	}
	if line.Offset-line.Lost != s.next {
		return fmt.Errorf("line at %d (lost %d) after %d", line.Offset, line.Lost, s.next)
	}
	s.bytes = append(s.bytes, line.Text...)
	switch line.Size - int64(len(line.Text)) {
	case 0:
	case 1:
		s.bytes = append(s.bytes, '\n')
	default:
		return fmt.Errorf("line of %d bytes says size %d", len(line.Text), line.Size)
	}
	s.lines = append(s.lines, line)
	s.lost += line.Lost
	s.next = line.End()
	return nil
}

// again says whether a line is one that came before.
func (s *received) again(line logs.Line) error {
	i, _ := slices.BinarySearchFunc(s.lines, line.Offset, func(l logs.Line, at int64) int { return cmp.Compare(l.Offset, at) })
	for ; i < len(s.lines) && s.lines[i].Offset == line.Offset; i++ {
		if s.lines[i].Size == line.Size {
			return nil
		}
	}
	return fmt.Errorf("line at %d of %d bytes never came before", line.Offset, line.Size)
}

// of gives a copy of what was received of a stream.
func (r *receiver) of(id string, s logs.Stream) received {
	r.mu.Lock()
	defer r.mu.Unlock()
	return *r.stream(logs.Key{Dyno: id, Stream: s})
}

// reach waits until so many bytes were sent in all, doubles included.
func (r *receiver) reach(ctx context.Context, total int64) error {
	for {
		r.mu.Lock()
		have, grown := r.total, r.grown
		r.mu.Unlock()
		if have >= total {
			return nil
		}
		select {
		case <-grown:
		case <-ctx.Done():
			return fmt.Errorf("received %d of %d: %w", have, total, ctx.Err())
		}
	}
}

func textBytes(b logs.Batch) (n int) {
	for _, r := range b.Runs {
		n += len(r.Text)
	}
	return n
}

// eachLine gives runs of one line each.
func eachLine(runs []logs.Run) (lines []logs.Run) {
	for _, r := range runs {
		for l := range r.Lines() {
			text := r.Text[l.Offset-r.Offset:][:l.Size]
			lines = append(lines, logs.Run{
				Key: r.Key, Offset: l.Offset, Text: text, Time: l.Time, Continued: l.Continued, Lost: l.Lost, LostLines: l.LostLines, LostSince: l.LostSince,
			})
		}
	}
	return lines
}
