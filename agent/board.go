package agent

import (
	"cmp"
	"context"
	"net/netip"
	"slices"
	"sync"

	"github.com/dynod/dynod/agent/dyno"
)

// Status is a dyno as it is shown: its record and what is known of it on the host right now.
type Status struct {
	dyno.Record
	Address  netip.Addr // zero before the network is there
	HostPort uint16
	PID      int
}

// board holds the newest status of every dyno and tells watchers what changed. A slow watcher misses steps in
// between, never the newest.
type board struct {
	mu       sync.Mutex
	statuses map[string]Status
	watchers map[*Watch]bool
}

func newBoard() *board {
	return &board{statuses: map[string]Status{}, watchers: map[*Watch]bool{}}
}

func (b *board) put(s Status) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.statuses[s.ID] = s
	b.tell(s.ID)
}

func (b *board) drop(id string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if _, known := b.statuses[id]; known {
		delete(b.statuses, id)
		b.tell(id)
	}
}

func (b *board) get(id string) (Status, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	s, ok := b.statuses[id]
	return s, ok
}

func (b *board) all() []Status {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.sorted()
}

func (b *board) sorted() []Status {
	all := make([]Status, 0, len(b.statuses))
	for _, s := range b.statuses {
		all = append(all, s)
	}
	slices.SortFunc(all, func(x, y Status) int {
		return cmp.Or(cmp.Compare(x.Spec.App, y.Spec.App), cmp.Compare(x.Spec.Name, y.Spec.Name), cmp.Compare(x.ID, y.ID))
	})
	return all
}

// touch wakes the watchers although no dyno has changed: the host has.
func (b *board) touch() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.wake()
}

func (b *board) tell(id string) {
	for w := range b.watchers {
		w.news[id] = true
	}
	b.wake()
}

func (b *board) wake() {
	for w := range b.watchers {
		select {
		case w.wake <- struct{}{}:
		default:
		}
	}
}

// Watch is one watcher of the board. It is used by one goroutine.
type Watch struct {
	board *board
	news  map[string]bool // ids that changed since the last look; under board.mu
	wake  chan struct{}
}

func (b *board) watch() (*Watch, []Status) {
	b.mu.Lock()
	defer b.mu.Unlock()
	w := &Watch{b, map[string]bool{}, make(chan struct{}, 1)}
	b.watchers[w] = true
	return w, b.sorted()
}

// Wake is sent to when Changes has something, or the host itself has changed.
func (w *Watch) Wake() <-chan struct{} { return w.wake }

// Starting says whether all that Changes has is dynos that are starting.
func (w *Watch) Starting() bool {
	w.board.mu.Lock()
	defer w.board.mu.Unlock()
	for id := range w.news {
		if s, ok := w.board.statuses[id]; !ok || s.Phase != dyno.Starting {
			return false
		}
	}
	return len(w.news) > 0
}

// Changes is what changed since the last call: the newest status of each dyno, and the ids that are forgotten.
func (w *Watch) Changes() (changed []Status, forgotten []string) {
	w.board.mu.Lock()
	defer w.board.mu.Unlock()
	for id := range w.news {
		if s, ok := w.board.statuses[id]; ok {
			changed = append(changed, s)
		} else {
			forgotten = append(forgotten, id)
		}
	}
	clear(w.news)
	return changed, forgotten
}

// Next waits for changes.
func (w *Watch) Next(ctx context.Context) (changed []Status, forgotten []string, err error) {
	select {
	case <-w.wake:
		changed, forgotten = w.Changes()
		return changed, forgotten, nil
	case <-ctx.Done():
		return nil, nil, ctx.Err()
	}
}

// Close ends the watch.
func (w *Watch) Close() {
	w.board.mu.Lock()
	defer w.board.mu.Unlock()
	delete(w.board.watchers, w)
}
