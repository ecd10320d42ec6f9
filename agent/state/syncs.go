package state

import "sync"

// syncs is a sync that many share: who comes while one runs waits for the next, with all others that came.
type syncs struct {
	sync func() error
	turn chan struct{} // holds a token while one runs

	mu   sync.Mutex
	next *round // for who comes now; nil: nobody has
}

type round struct {
	once sync.Once
	err  error
}

func newSyncs(sync func() error) *syncs { return &syncs{sync: sync, turn: make(chan struct{}, 1)} }

// do returns when a sync that began after the call has ended.
func (s *syncs) do() error {
	r := s.join()
	s.turn <- struct{}{}
	defer func() { <-s.turn }()
	r.once.Do(func() {
		s.mu.Lock()
		s.next = nil // who comes now may be too late for this one
		s.mu.Unlock()
		r.err = s.sync()
	})
	return r.err
}

func (s *syncs) join() *round {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.next == nil {
		s.next = &round{}
	}
	return s.next
}
