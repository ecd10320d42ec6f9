package runtime

import (
	"crypto/rand"
	"errors"
	"os"
	"sync"
	"time"
)

const (
	// shimDynos is how many dynos share a shim at most: what ends it ends them all.
	shimDynos = 32
	// The labels by which a later process knows which dynos share a shim.
	shimLabel, spaceLabel = "dynod.shim", "dynod.space"
)

// shims says which shim keeps which dynos. One that has room is joined rather than a new one started: that is faster, and
// an idle dyno costs less memory. None is shared between spaces.
//
// A shim makes one dyno at a time, and ends with its last. So one that makes a dyno already is not joined, nor one
// whose dynos are all being deleted.
type shims struct {
	socket func(name string) string // path of a shim's

	mu   sync.Mutex
	all  map[*shimGroup]bool
	with map[string]*shimGroup // by dyno
}

// shimGroup is the dynos of a shim.
type shimGroup struct {
	name, space string
	dynos       map[string]bool // whose tasks are there and not being deleted
	busy        bool            // makes a dyno
	joined      bool            // had others when it began to
	since       time.Time       // when it began to
	hung        bool            // is not joined again: did not make one in time, whether it was waited for or not, or was replaced
}

func newShims(socket func(name string) string) *shims {
	return &shims{socket: socket, all: map[*shimGroup]bool{}, with: map[string]*shimGroup{}}
}

// choose takes the fullest shim that has room, or a new one. It must be given back with made.
func (s *shims) choose(space string) *shimGroup {
	s.mu.Lock()
	defer s.mu.Unlock()
	best := newShim(space)
	for g := range s.all {
		if g.space == space && !g.busy && !g.hung && len(g.dynos) < shimDynos && len(g.dynos) > len(best.dynos) {
			best = g
		}
	}
	best.busy, best.joined, best.since, s.all[best] = true, len(best.dynos) > 0, time.Now(), true
	return best
}

// newShim has a name that no other ever has.
func newShim(space string) *shimGroup {
	return &shimGroup{name: rand.Text(), space: space, dynos: map[string]bool{}}
}

// made says what became of the dyno for which a shim was chosen. again: it was replaced, or its last other dyno was deleted
// meanwhile, and the shim may have gone with it.
func (s *shims) made(g *shimGroup, id string, err error) (again bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	g.busy = false
	switch {
	case err == nil:
		g.dynos[id], s.with[id] = true, g
	case time.Since(g.since) >= createTurn || errors.Is(err, errReplaced):
		g.hung = true
	}
	s.drop(g)
	return errors.Is(err, errReplaced) || err != nil && g.joined && !s.all[g]
}

// recall notes a dyno that an earlier process has made.
func (s *shims) recall(id, name, space string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.with[id] != nil || name == "" {
		return
	}
	g := s.named(name, space)
	g.dynos[id], s.all[g], s.with[id] = true, true, g
}

func (s *shims) named(name, space string) *shimGroup {
	for g := range s.all {
		if g.name == name {
			return g
		}
	}
	g := newShim(space)
	g.name = name
	return g
}

// leave says that a dyno's task is about to be deleted.
func (s *shims) leave(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if g := s.with[id]; g != nil {
		delete(s.with, id)
		delete(g.dynos, id)
		s.drop(g)
	}
}

// drop forgets a shim without dynos.
func (s *shims) drop(g *shimGroup) {
	if len(g.dynos) == 0 && !g.busy {
		delete(s.all, g)
		_ = os.Remove(s.socket(g.name) + kept)
	}
}
