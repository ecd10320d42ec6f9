package network

import (
	"context"
	"sync"
)

// locks is a lock for each key, for as long as anybody wants it.
type locks struct {
	mu     sync.Mutex
	wanted map[string]*lock
}

type lock struct {
	turn  chan struct{} // holds one token while the lock is held
	users int           // who hold or want it
}

// take waits for the lock of key, or for the end of ctx.
func (l *locks) take(ctx context.Context, key string) (release func(), err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	one := l.want(key)
	select {
	case one.turn <- struct{}{}:
		return func() { <-one.turn; l.leave(key, one) }, nil
	case <-ctx.Done():
		l.leave(key, one)
		return nil, ctx.Err()
	}
}

func (l *locks) want(key string) *lock {
	l.mu.Lock()
	defer l.mu.Unlock()
	one, ok := l.wanted[key]
	if !ok {
		one = &lock{turn: make(chan struct{}, 1)}
		if l.wanted == nil {
			l.wanted = map[string]*lock{}
		}
		l.wanted[key] = one
	}
	one.users++
	return one
}

func (l *locks) leave(key string, one *lock) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if one.users--; one.users == 0 {
		delete(l.wanted, key)
	}
}
