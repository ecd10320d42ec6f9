package logs

import (
	"bytes"
	"context"
	"sync/atomic"
	"time"
)

// Batch is what is sent at once. Runs of one stream are in order.
type Batch struct {
	ID   uint64 // counts from 1 in the life of the agent; the same when the same batch is sent again
	Runs []Run
}

// oldest is the time of the line that was read first.
func (b Batch) oldest() *time.Time {
	oldest := b.Runs[0].Time
	for i := range b.Runs {
		if t := b.Runs[i].Time; t.Before(oldest) {
			oldest = t
		}
	}
	return &oldest
}

// Ack says what was delivered: everything of a stream below its offset. A stream that is missing, or an offset below
// a line's end, means that the line will be sent again; offsets beyond what was sent count as the end of that.
type Ack struct{ Offsets map[Key]int64 }

// Sink takes batches. Send is called for one batch at a time. An error means that nothing of it counts as delivered:
// the same batch comes again after a pause. One of the class errdefs.ErrInvalidArgument says that the batch itself is
// at fault: a line that is refused alone, again and again, is left out, and told as lost (see Line.Lost). Send must
// return when ctx ends, which happens after sendTimeout at the latest; it must not keep or change
// the batch, whose memory is used again.
type Sink interface {
	Send(ctx context.Context, b Batch) (Ack, error)
}

// Pipeline is a Sink that may be given a batch while others are under way. Start puts it on its way and returns what
// waits for its answer, which comes under the same contract as that of Send. Calls of Start do not overlap, and order
// of the calls is order of the batches. A batch that follows others whose answers were not taken in yet goes the same
// way as they or fails: if they are lost, nobody may get it before them.
type Pipeline interface {
	Sink
	Start(ctx context.Context, b Batch, follows bool) (wait func() (Ack, error))
}

// nowhere stands for an upstream that there is not.
type nowhere struct{}

func (nowhere) Send(_ context.Context, b Batch) (Ack, error) {
	ack := Ack{Offsets: map[Key]int64{}}
	for _, r := range b.Runs {
		ack.Offsets[r.Key] = r.End()
	}
	return ack, nil
}

// SinkStats count what one receiver was given, since the agent began.
type SinkStats struct {
	Batches int64 // delivered
	Lines   int64 // delivered
	Bytes   int64 // of their texts
	Errors  int64 // attempts that failed
	Dropped int64 // lines that were gone before they could be read: L12
	Lost    int64 // lines that the receiver refused for good, or that were given up: L13
}

// counters are SinkStats that change.
type counters struct{ batches, lines, bytes, errors, dropped, lost atomic.Int64 }

func (c *counters) delivered(t tally) {
	if !t.any {
		return
	}
	c.batches.Add(1)
	c.lines.Add(int64(t.lines))
	c.bytes.Add(t.bytes)
	c.dropped.Add(t.dropped)
}

// tally counts some lines.
type tally struct {
	any            bool // even if only a loss was told
	lines          int
	bytes, dropped int64
}

// add counts what a position covers of a run.
func (t *tally) add(r *Run, upTo int64) {
	n, any := r.below(upTo)
	if !any {
		return
	}
	t.any = true
	newlines := bytes.Count(r.Text[:n], []byte{'\n'})
	t.lines += newlines
	if n > 0 && r.Text[n-1] != '\n' { // the last line lacks its newline
		t.lines++
	}
	t.bytes += int64(n - newlines)
	t.dropped += r.LostLines
}

func (c *counters) stats() SinkStats {
	return SinkStats{
		Batches: c.batches.Load(), Lines: c.lines.Load(), Bytes: c.bytes.Load(), Errors: c.errors.Load(),
		Dropped: c.dropped.Load(), Lost: c.lost.Load(),
	}
}
