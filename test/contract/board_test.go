package contract_test

import (
	"context"
	"fmt"
	"strings"
	"sync"

	dynodv1 "github.com/dynod/dynod/proto/dynod/v1"
)

// board keeps the newest state of every dyno, as the agent tells it to those who watch.
type board struct {
	mu      sync.Mutex
	dynos   map[string]*dynodv1.Dyno
	err     error // why nothing more will come
	changed chan struct{}
}

// watch watches until ctx ends or the agent goes away.
func watch(ctx context.Context, api dynodv1.AgentServiceClient) *board {
	b := &board{dynos: map[string]*dynodv1.Dyno{}, changed: make(chan struct{})}
	go func() {
		stream, err := api.WatchDynos(ctx, &dynodv1.WatchDynosRequest{})
		for err == nil {
			var news *dynodv1.WatchDynosResponse
			news, err = stream.Recv()
			b.note(news, err)
		}
		b.note(nil, err)
	}()
	return b
}

func (b *board) note(news *dynodv1.WatchDynosResponse, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, d := range append(news.GetSnapshot().GetDynos(), news.GetChanged()) {
		if d != nil {
			b.dynos[d.GetId()] = d
		}
	}
	if err != nil {
		b.err = fmt.Errorf("watch dynos: %w", err)
	}
	close(b.changed)
	b.changed = make(chan struct{})
}

// last is the last line that a dyno will write; empty while it lives.
func (b *board) last(id string) string {
	b.mu.Lock()
	defer b.mu.Unlock()
	if d := b.dynos[id]; d != nil && over(d) {
		return " to " + strings.ToLower(strings.TrimPrefix(d.GetPhase().String(), "PHASE_"))
	}
	return ""
}

func (b *board) await(ctx context.Context, id string, ok func(*dynodv1.Dyno) bool) (*dynodv1.Dyno, error) {
	for {
		b.mu.Lock()
		d, err, changed := b.dynos[id], b.err, b.changed
		b.mu.Unlock()
		if d != nil && ok(d) {
			return d, nil
		}
		if err != nil {
			return d, err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return d, ctx.Err()
		}
	}
}
