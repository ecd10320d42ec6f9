package rpc

import (
	"context"
	"errors"
	"time"

	"github.com/dynod/dynod/agent"
	"github.com/dynod/dynod/agent/dyno"
	"github.com/dynod/dynod/logs"
	dynodv1 "github.com/dynod/dynod/proto/dynod/v1"
)

func startOrder(in *dynodv1.StartDynoRequest) (agent.StartOrder, error) {
	var w wire
	var o agent.StartOrder
	o.ID, o.Generation, o.NotAfter = w.header(in.GetHeader())
	o.Spec, o.Reason = w.spec(in.GetSpec()), in.GetReason()
	return o, w.err()
}

// execOrder is one more command; in is nil where the first message was no start.
func execOrder(in *dynodv1.ExecStart) (agent.ExecOrder, error) {
	var w wire
	if in == nil {
		w.refuse("start", "must come first")
	}
	o := agent.ExecOrder{ID: in.GetDynoId(), Words: in.GetCommand(), Attach: &dyno.Attach{Terminal: in.GetTerminal()}}
	o.Attach.Rows, o.Attach.Columns = w.size("start.size", in.GetSize())
	return o, w.err()
}

func windowSize(field string, in *dynodv1.WindowSize) (rows, columns uint16, err error) {
	var w wire
	rows, columns = w.size(field, in)
	return rows, columns, w.err()
}

func stopOrder(in *dynodv1.StopDynoRequest) (agent.StopOrder, error) {
	var w wire
	o := agent.StopOrder{Grace: w.duration("grace", in.GetGrace(), -1), Reason: in.GetReason()}
	o.ID, o.Generation, o.NotAfter = w.header(in.GetHeader())
	return o, w.err()
}

// drainGrace is checked whole before anything is done: a drain begins with a cordon.
func drainGrace(in *dynodv1.DrainHostRequest) (time.Duration, error) {
	var w wire
	grace := w.duration("grace", in.GetGrace(), -1)
	return grace, errors.Join(w.err(), dyno.ValidateStop(grace, ""))
}

func readOptions(in *dynodv1.StreamLogsRequest) (logs.ReadOptions, error) {
	var w wire
	o := logs.ReadOptions{Follow: in.GetFollow(), Tail: -1, Since: w.instant("since", in.GetSince())}
	if in.Tail != nil {
		o.Tail = int(in.GetTail())
	}
	for _, s := range in.GetStreams() {
		o.Streams = append(o.Streams, w.stream("streams", s))
	}
	for _, c := range in.GetAfter() {
		if c.GetOffset() < 0 {
			w.refuse("after", "must be offsets of 0 or more")
		}
		if o.From == nil {
			o.From = map[logs.Stream]int64{}
		}
		o.From[w.stream("after", c.GetStream())] = c.GetOffset()
	}
	return o, w.err()
}

// ended makes a caller's leaving a plain error of the context.
func ended(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}
