// Package dynodv1 is the wire's first version: generated code, and what cuts its runs of log lines.
package dynodv1

import (
	"bytes"
	"iter"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"
)

// Lines cuts the run. The lines' texts are parts of its own.
func (x *LogRun) Lines() iter.Seq[*LogLine] {
	return func(yield func(*LogLine) bool) {
		at, later, read := 0, 0, x.GetTime()
		lost, lines, since := x.GetLostBytes(), x.GetLostLines(), x.GetLostSince()
		for {
			rest := x.GetText()[at:]
			line, _, newline := bytes.Cut(rest, []byte{'\n'})
			size := len(line)
			if newline {
				size++
			}
			for ; later < min(len(x.GetLaterAt()), len(x.GetLaterNanos())) && int(x.GetLaterAt()[later]) <= at; later++ {
				read = timestamppb.New(x.GetTime().AsTime().Add(time.Duration(x.GetLaterNanos()[later])))
			}
			l := &LogLine{
				Stream: x.GetStream(), Offset: x.GetOffset() + int64(at), Size: int64(size), Time: read, Text: line,
				Continued: x.GetContinued() && size == len(rest), LostBytes: lost, LostLines: lines, LostSince: since,
			}
			if at, lost, lines, since = at+size, 0, 0, nil; !yield(l) || at == len(x.GetText()) {
				return
			}
		}
	}
}
