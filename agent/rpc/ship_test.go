package rpc_test

import (
	"context"
	"crypto/rand"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/dynod/dynod/agent/rpc"
	"github.com/dynod/dynod/logs"
	"github.com/dynod/dynod/logs/spool"
	dynodv1 "github.com/dynod/dynod/proto/dynod/v1"
)

// sent is what Send returned.
type sent struct {
	ack logs.Ack
	err error
}

func ship(ctx context.Context, s *rpc.Shipper, runs ...logs.Run) <-chan sent {
	out := make(chan sent, 1)
	go func() {
		ack, err := s.Send(ctx, logs.Batch{ID: 77, Runs: runs})
		out <- sent{ack, err}
	}()
	return out
}

// said is a run of one line.
func said(id string, stream logs.Stream, offset int64, text string) logs.Run {
	return logs.Run{Key: logs.Key{Dyno: id, Stream: stream}, Offset: offset, Time: noon, Text: []byte(text + "\n")}
}

func shown(id string, stream dynodv1.LogStream, offset int64, text string) *dynodv1.LogRun {
	return &dynodv1.LogRun{DynoId: id, Stream: stream, Offset: offset, Time: timestamppb.New(noon), Text: []byte(text + "\n")}
}

// delivered answers a batch with a cursor.
func delivered(batch uint64, id string, stream dynodv1.LogStream, offset int64) *dynodv1.ShipLogsResponse {
	return &dynodv1.ShipLogsResponse{Batch: batch, Delivered: []*dynodv1.LogCursor{{DynoId: id, Stream: stream, Offset: offset}}}
}

func TestShip(t *testing.T) {
	p := newPlane(t)
	s := rpc.NewShipper(p.conn, "h")
	done := ship(limited(t), s,
		said(first, logs.Stdout, 0, "one"), said(second, logs.Stdout, 5, "\xff\x00"), said(first, logs.Stderr, 0, "two"),
		said(first, logs.Stdout, 4, "three"), said(second, logs.Stdout, 8, "four"))
	stream := accept(t, p.batches)
	got := stream.receive()
	want := &dynodv1.ShipLogsRequest{Batch: 1, Host: "h", Runs: []*dynodv1.LogRun{
		shown(first, 1, 0, "one"), shown(second, 1, 5, "\xff\x00"), shown(first, 2, 0, "two"), shown(first, 1, 4, "three"), shown(second, 1, 8, "four"),
	}}
	if diff := cmp.Diff(want, got, protocmp.Transform()); diff != "" {
		t.Error(diff)
	}
	stream.send(&dynodv1.ShipLogsResponse{Batch: 1, Delivered: []*dynodv1.LogCursor{
		{DynoId: first, Stream: dynodv1.LogStream_LOG_STREAM_STDOUT, Offset: 10},
		{DynoId: first, Stream: dynodv1.LogStream_LOG_STREAM_STDERR, Offset: 4},
		{DynoId: second, Stream: dynodv1.LogStream_LOG_STREAM_STDOUT, Offset: 8},
	}})
	answer := next(t, "answers", done)
	offsets := map[logs.Key]int64{{Dyno: first, Stream: logs.Stdout}: 10, {Dyno: first, Stream: logs.Stderr}: 4, {Dyno: second, Stream: logs.Stdout}: 8}
	if diff := cmp.Diff(offsets, answer.ack.Offsets); diff != "" || answer.err != nil {
		t.Errorf("%v %s", answer.err, diff)
	}

	done = ship(limited(t), s, said(first, logs.Stdout, 10, "five"))
	if m := stream.receive(); m.GetBatch() != 2 { // of the same stream
		t.Errorf("got %v", m)
	}
	stream.send(&dynodv1.ShipLogsResponse{Batch: 2}) // nothing delivered
	if answer := next(t, "answers", done); answer.err != nil || len(answer.ack.Offsets) != 0 {
		t.Errorf("got %+v", answer)
	}
}

// TestShipWholeRuns has runs with everything that there may be about them, and cuts them as a receiver does: the lines
// are those that the agent cuts.
func TestShipWholeRuns(t *testing.T) {
	p := newPlane(t)
	s := rpc.NewShipper(p.conn, "h")
	long := strings.Repeat("x", logs.MaxLine)
	key := logs.Key{Dyno: first, Stream: logs.Stderr}
	runs := []logs.Run{
		{
			Key: key, Offset: 100, Text: []byte("one\n\n\xff\x00\n" + long), Time: noon, Continued: true, Lost: 90, LostLines: 4, LostSince: noon.Add(-9),
			Later: []spool.Mark{{Offset: 102, Time: noon.Add(5)}, {Offset: 105, Time: noon.Add(-time.Hour)}, {Offset: 108, Time: noon.Add(7)}},
		},
		{Key: key, Offset: 10_108, Text: []byte("the end"), Time: noon.Add(8)},
		{Key: key, Offset: 10_200, Time: noon, Lost: 85},
	}
	done := ship(limited(t), s, runs...)
	stream := accept(t, p.batches)
	var want, got []*dynodv1.LogLine
	for _, r := range runs {
		for l := range r.Lines() {
			var since *timestamppb.Timestamp
			if !l.LostSince.IsZero() {
				since = timestamppb.New(l.LostSince)
			}
			want = append(want, &dynodv1.LogLine{
				Stream: dynodv1.LogStream(l.Stream), Offset: l.Offset, Size: l.Size, Time: timestamppb.New(l.Time), Text: l.Text,
				Continued: l.Continued, LostBytes: l.Lost, LostLines: l.LostLines, LostSince: since,
			})
		}
	}
	for _, r := range stream.receive().GetRuns() {
		got = slices.AppendSeq(got, r.Lines())
	}
	if diff := cmp.Diff(want, got, protocmp.Transform()); diff != "" || len(want) != 6 {
		t.Errorf("%d lines: %s", len(want), diff)
	}
	stream.send(delivered(1, first, 2, 10_200))
	if answer := next(t, "answers", done); answer.err != nil {
		t.Error(answer.err)
	}
}

// After any trouble the next batch goes over a stream of its own, with numbers from 1.
func TestShipAfterTrouble(t *testing.T) {
	p := newPlane(t)
	s := rpc.NewShipper(p.conn, "h")
	line := said(first, logs.Stdout, 0, "one")
	good := func() *session[dynodv1.ShipLogsRequest, dynodv1.ShipLogsResponse] {
		t.Helper()
		done := ship(limited(t), s, line)
		stream := accept(t, p.batches)
		if m := stream.receive(); m.GetBatch() != 1 {
			t.Fatalf("got %v", m)
		}
		stream.send(delivered(1, first, 1, 4))
		if answer := next(t, "answers", done); answer.err != nil || answer.ack.Offsets[logs.Key{Dyno: first, Stream: logs.Stdout}] != 4 {
			t.Fatalf("got %+v", answer)
		}
		return stream
	}

	stream := good()
	done := ship(limited(t), s, line)
	stream.receive()
	stream.send(delivered(1, first, 1, 4)) // of the batch before
	if answer := next(t, "answers", done); answer.err == nil || len(answer.ack.Offsets) > 0 {
		t.Errorf("wrong batch number: got %+v", answer)
	}
	wait(t, "the stream's end", stream.stream.Context().Done())

	stream = good()
	done = ship(limited(t), s, line)
	stream.receive()
	stream.end()
	answer := next(t, "answers", done)
	wantCode(t, answer.err, codes.Unknown)

	stream = good()
	ctx, cancel := context.WithCancel(limited(t))
	done = ship(ctx, s, line)
	stream.receive()
	cancel()
	answer = next(t, "answers", done)
	wantCode(t, answer.err, codes.Canceled)
	wait(t, "the stream's end", stream.stream.Context().Done())

	good().end() // while no batch is under way
	for over := false; !over; {
		done := ship(limited(t), s, line)
		select {
		case stream := <-p.batches:
			stream.t = t
			stream.receive()
			stream.send(delivered(1, first, 1, 4))
			answer := next(t, "answers", done)
			if over = true; answer.err != nil {
				t.Error(answer.err)
			}
		case answer := <-done: // it met the old stream yet
			if answer.err == nil {
				t.Fatal("a batch over a stream that had ended was delivered")
			}
		}
	}
}

// Batches are under way together; each gets its own answer.
func TestShipInAWindow(t *testing.T) {
	p := newPlane(t)
	s := rpc.NewShipper(p.conn, "h")
	var waits []func() (logs.Ack, error)
	for i := range 3 {
		waits = append(waits, s.Start(limited(t), logs.Batch{Runs: []logs.Run{said(first, logs.Stdout, int64(4*i), "abc")}}, len(waits) > 0))
	}
	stream := accept(t, p.batches)
	for i := range 3 {
		if m := stream.receive(); m.GetBatch() != uint64(i+1) || m.GetRuns()[0].GetOffset() != int64(4*i) {
			t.Errorf("got %v", m)
		}
	}
	for i := range 2 {
		stream.send(delivered(uint64(i+1), first, 1, int64(4*i+4)))
		if ack, err := waits[i](); err != nil || ack.Offsets[logs.Key{Dyno: first, Stream: logs.Stdout}] != int64(4*i+4) {
			t.Errorf("batch %d: %v, %v", i+1, ack, err)
		}
	}
	stream.refuse(status.Error(codes.InvalidArgument, "no"))
	if _, err := waits[2](); !errdefs.IsInvalidArgument(err) {
		t.Errorf("refused: %v", err)
	}
}

// A batch that follows one whose stream broke is not sent over a new one: it would arrive first.
func TestShipKeepsOrderOverTrouble(t *testing.T) {
	p := newPlane(t)
	s := rpc.NewShipper(p.conn, "h")
	batch := func(offset int64) logs.Batch {
		return logs.Batch{Runs: []logs.Run{said(first, logs.Stdout, offset, "abc")}}
	}
	lost := s.Start(limited(t), batch(0), false)
	stream := accept(t, p.batches)
	stream.receive()
	stream.end()
	if _, err := lost(); err == nil {
		t.Error("a batch without an answer is delivered")
	}
	if _, err := s.Start(limited(t), batch(4), true)(); err == nil {
		t.Error("a batch is delivered before the one that it follows")
	}
	again := s.Start(limited(t), batch(0), false)
	stream = accept(t, p.batches)
	if m := stream.receive(); m.GetRuns()[0].GetOffset() != 0 {
		t.Errorf("got %v", m)
	}
	stream.send(delivered(1, first, 1, 4))
	if _, err := again(); err != nil {
		t.Error(err)
	}
}

// TestReportsBesideStuckLogs: a control plane that does not read logs gets its reports all the same.
func TestReportsBesideStuckLogs(t *testing.T) {
	h, p := newHost(t), newPlane(t)
	p.deaf = true
	s := rpc.NewShipper(p.conn, "h")
	ctx, leave := context.WithCancel(t.Context())
	var sent atomic.Int64
	done := make(chan struct{})
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			text := make([]byte, 1<<20)
			_, _ = rand.Read(text) // does not become less by compression
			s.Start(ctx, logs.Batch{Runs: []logs.Run{{Key: logs.Key{Dyno: first, Stream: logs.Stdout}, Text: text, Time: noon}}}, false)
			sent.Add(1)
		}
	}()
	t.Cleanup(func() { leave(); wait(t, "the shipper's end", done) })
	for last := int64(0); last == 0 || sent.Load() > last; time.Sleep(100 * time.Millisecond) {
		last = sent.Load()
	}
	const interval, many = 100 * time.Millisecond, 20
	p.report(h, interval)
	began := time.Now()
	reports, _ := p.connected(t)
	for range many {
		reports.ack(reports.newest)
		reports.heard()
	}
	if took := time.Since(began); took > 10*many*interval {
		t.Errorf("%d reports took %v beside %d batches", many, took, sent.Load())
	}
}

// What goes upstream is compressed, unless the control plane says that it cannot read it.
func TestShipCompresses(t *testing.T) {
	p := newPlane(t)
	s := rpc.NewShipper(p.conn, "h")
	done := ship(limited(t), s, said(first, logs.Stdout, 0, "one"))
	stream := accept(t, p.batches)
	stream.receive()
	if got := p.spoken.last(); got != "zstd" {
		t.Errorf("encoding %q", got)
	}
	stream.refuse(status.Error(codes.Unimplemented, `grpc: Decompressor is not installed for grpc-encoding "zstd"`))
	if answer := next(t, "answers", done); answer.err == nil {
		t.Error("delivered to nobody")
	}
	done = ship(limited(t), s, said(first, logs.Stdout, 0, "one"))
	stream = accept(t, p.batches)
	stream.receive()
	if got := p.spoken.last(); got != "" {
		t.Errorf("encoding %q", got)
	}
	stream.send(delivered(1, first, 1, 4))
	if answer := next(t, "answers", done); answer.err != nil {
		t.Error(answer.err)
	}
}

func TestShipToNobody(t *testing.T) {
	s := rpc.NewShipper(dial(t, filepath.Join(memoryDir(t), "nobody")), "h")
	_, err := s.Send(limited(t), logs.Batch{Runs: []logs.Run{said(first, logs.Stdout, 0, "one")}})
	wantCode(t, err, codes.Unavailable)
}

// A peer that takes the connection and never says a word holds a call for seconds, but not beyond its context.
func TestShipToASilentPeer(t *testing.T) {
	socket := filepath.Join(memoryDir(t), "s")
	lis, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = lis.Close() })
	s := rpc.NewShipper(dial(t, socket), "h")
	ctx, cancel := context.WithCancel(t.Context())
	done := ship(ctx, s, said(first, logs.Stdout, 0, "one"))
	conn, err := lis.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	const ackLimit = 30 * time.Second // when it would end by itself
	begun := time.Now()
	cancel()
	answer := next(t, "answers", done)
	if took := time.Since(begun); answer.err == nil || took > ackLimit/2 {
		t.Errorf("got %+v after %s", answer, took)
	}
}
