package rpc

import (
	"context"
	"fmt"
	"sync"

	"google.golang.org/grpc"

	"github.com/dynod/dynod/logs"
	dynodv1 "github.com/dynod/dynod/proto/dynod/v1"
)

// link is one ShipLogs stream with the batches on it.
type link struct {
	stream grpc.BidiStreamingClient[dynodv1.ShipLogsRequest, dynodv1.ShipLogsResponse]
	end    context.CancelFunc

	mu      sync.Mutex
	sent    uint64
	waiting []waiting // in the order in which they were sent
	failed  error     // nothing more will be answered
}

type waiting struct {
	batch  uint64
	answer chan<- answer
}

type answer struct {
	ack logs.Ack
	err error
}

// send puts a batch on its way. Its answer comes, whatever happens.
func (l *link) send(host string, b logs.Batch) <-chan answer {
	c := make(chan answer, 1)
	l.mu.Lock()
	if l.failed != nil {
		c <- answer{err: l.failed}
		l.mu.Unlock()
		return c
	}
	l.sent++
	m := &dynodv1.ShipLogsRequest{Batch: l.sent, Host: host, Runs: toRuns(b.Runs)}
	l.waiting = append(l.waiting, waiting{m.GetBatch(), c})
	l.mu.Unlock()
	_ = l.stream.Send(m) // an error is only the echo of the one that Recv tells
	return c
}

// receive answers batches until the stream ends, and gives the reason.
func (l *link) receive() error {
	for {
		in, err := l.stream.Recv()
		if err != nil {
			return err
		}
		l.mu.Lock()
		var oldest waiting
		if len(l.waiting) > 0 {
			oldest = l.waiting[0]
		}
		if oldest.batch != in.GetBatch() || oldest.answer == nil {
			l.mu.Unlock()
			return fmt.Errorf("batch %d acknowledged, %d expected", in.GetBatch(), oldest.batch)
		}
		l.waiting = l.waiting[1:]
		l.mu.Unlock()
		oldest.answer <- answer{ack: ackOf(in)}
	}
}

// fail answers every batch that has no answer, now and later.
func (l *link) fail(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.failed = err
	for _, w := range l.waiting {
		w.answer <- answer{err: err}
	}
	l.waiting = nil
}

func ackOf(in *dynodv1.ShipLogsResponse) logs.Ack {
	ack := logs.Ack{Offsets: map[logs.Key]int64{}}
	for _, c := range in.GetDelivered() {
		ack.Offsets[logs.Key{Dyno: c.GetDynoId(), Stream: logs.Stream(c.GetStream())}] = c.GetOffset()
	}
	return ack
}
