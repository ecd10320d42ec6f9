package main

import (
	"context"
	"fmt"

	dynodv1 "github.com/dynod/dynod/proto/dynod/v1"
)

// await follows the dynos until done says so of each of them, or the agent has forgotten it. It gives the newest state
// of each that was seen.
func await(
	ctx context.Context, agent dynodv1.AgentServiceClient, ids []string, done func(*dynodv1.Dyno) bool,
) (map[string]*dynodv1.Dyno, error) {
	// The stream ends with its context, not with the last message that is read of it.
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := agent.WatchDynos(ctx, &dynodv1.WatchDynosRequest{})
	if err != nil {
		return nil, err
	}
	w := waiting{pending: map[string]bool{}, last: map[string]*dynodv1.Dyno{}, done: done}
	for _, id := range ids {
		w.pending[id] = true
	}
	for len(w.pending) > 0 {
		news, err := stream.Recv()
		if err != nil {
			return w.last, fmt.Errorf("watch dynos: %w", err)
		}
		w.hear(news)
	}
	return w.last, nil
}

// waiting is what await knows.
type waiting struct {
	pending map[string]bool
	last    map[string]*dynodv1.Dyno
	done    func(*dynodv1.Dyno) bool
}

func (w *waiting) hear(news *dynodv1.WatchDynosResponse) {
	switch e := news.GetEvent().(type) {
	case *dynodv1.WatchDynosResponse_Snapshot:
		w.snapshot(e.Snapshot.GetDynos())
	case *dynodv1.WatchDynosResponse_Changed:
		w.see(e.Changed)
	case *dynodv1.WatchDynosResponse_Forgotten:
		delete(w.pending, e.Forgotten)
	}
}

// snapshot holds every dyno that there is: those not in it are gone.
func (w *waiting) snapshot(dynos []*dynodv1.Dyno) {
	present := map[string]bool{}
	for _, d := range dynos {
		present[d.GetId()] = true
		w.see(d)
	}
	for id := range w.pending {
		if !present[id] {
			delete(w.pending, id)
		}
	}
}

func (w *waiting) see(d *dynodv1.Dyno) {
	if !w.pending[d.GetId()] {
		return
	}
	w.last[d.GetId()] = d
	if w.done(d) {
		delete(w.pending, d.GetId())
	}
}
