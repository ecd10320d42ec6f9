package network

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// tendEvery is how often everything is looked at though nothing was heard.
	tendEvery = 10 * time.Second
	// tendPause is the least time between two looks at what is ours, findPause at
	// what others have.
	tendPause = 100 * time.Millisecond
	findPause = time.Second
	// loadsAtOnce is how often the table is loaded without a pause; then once a
	// second, should somebody else not leave it alone.
	loadsAtOnce = 5
	// listenAgain is the time after which the kernel is asked for its news again.
	listenAgain = time.Second
)

// health is what dynos must have, and what they lack.
type health struct {
	mu        sync.Mutex
	kept      map[string]Request // by id: Setup has promised them a network
	slots     map[int]string     // whose they are
	broken    map[string]string  // by id: why nothing has helped yet
	obstacles []string

	mendedTables, mendedDynos atomic.Uint64
}

func (h *health) keep(r Request) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.kept == nil {
		h.kept, h.slots, h.broken = map[string]Request{}, map[int]string{}, map[string]string{}
	}
	h.kept[r.ID], h.slots[r.Slot] = r, r.ID
	delete(h.broken, r.ID)
}

func (h *health) forget(id string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if slot := h.kept[id].Slot; h.slots[slot] == id {
		delete(h.slots, slot)
	}
	delete(h.kept, id)
	delete(h.broken, id)
}

func (h *health) all() []Request {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Collect(maps.Values(h.kept))
}

// of is what a dyno was promised, unless it is gone.
func (h *health) of(id string) (Request, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	r, ok := h.kept[id]
	return r, ok
}

// in is the dyno of a slot, empty if there is none.
func (h *health) in(slot int) string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.slots[slot]
}

// lose notes why a dyno's network is broken. False: that is known.
func (h *health) lose(id string, why error) (news bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	news = h.broken[id] != why.Error()
	h.broken[id] = why.Error()
	return news
}

func (h *health) block(obstacles []string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.obstacles = obstacles
}

// Warnings says what Run could not mend: dynos whose network is broken, and what
// stands in the way on this host. In no order that means anything, always the same.
func (n *Network) Warnings() []string {
	n.health.mu.Lock()
	defer n.health.mu.Unlock()
	all := slices.Clone(n.health.obstacles)
	if n.loads.Tokens() < 1 {
		all = append(all, "something else on this host keeps changing the firewall table inet dynod")
	}
	for _, id := range slices.Sorted(maps.Keys(n.health.broken)) {
		all = append(all, fmt.Sprintf("the network of dyno %s is broken: %s", id, n.health.broken[id]))
	}
	return all
}

// Run watches over the firewall and the links of dynos and mends within a second
// what somebody else flushed, changed or deleted; connections go on. What it
// cannot mend, Warnings says. It logs, at most once a second, what was denied. It
// returns when ctx ends.
func (n *Network) Run(ctx context.Context) error {
	about := news{make(chan struct{}, 1), make(chan struct{}, 1)}
	var parts sync.WaitGroup
	parts.Go(func() { n.listen(ctx, n.watchFirewall, about) })
	parts.Go(func() { n.listen(ctx, n.watchLinks, about) })
	parts.Go(func() { n.tend(ctx, "ours", n.mend, tendPause, about.touched) })
	parts.Go(func() { n.tend(ctx, "others", n.noteObstacles, findPause, about.foreign) })
	parts.Go(func() { n.tellDenied(ctx) })
	parts.Wait()
	return nil
}

// listen watches, again and again should that fail: dynos do not depend on it.
func (n *Network) listen(ctx context.Context, watch func(context.Context, news) error, about news) {
	for ctx.Err() == nil {
		if err := watch(ctx, about); err != nil && ctx.Err() == nil {
			n.log.Error("listen to the kernel", "err", err)
			pause(ctx, nil, listenAgain)
		}
	}
}

// tend does its work again and again: when there is news, but with a pause, and
// unasked now and then.
func (n *Network) tend(ctx context.Context, what string, work func(context.Context) error, least time.Duration, news <-chan struct{}) {
	for ctx.Err() == nil {
		n.log.Debug("look", "at", what)
		if err := work(ctx); err != nil && ctx.Err() == nil {
			n.log.Error("mend networks", "err", err)
		}
		pause(ctx, nil, least)
		pause(ctx, news, tendEvery)
	}
}

// pause waits for a time, or until ctx ends or there is news.
func pause(ctx context.Context, news <-chan struct{}, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-news:
	case <-ctx.Done():
	}
}

func (n *Network) noteObstacles(context.Context) error {
	obstacles, err := n.obstacles()
	if err == nil {
		n.health.block(obstacles)
	}
	return err
}

// mend looks at what is ours and restores what is not as it should be.
func (n *Network) mend(ctx context.Context) error {
	return errors.Join(n.mendTable(ctx), n.forward(), n.mendLinks(ctx))
}

func (n *Network) mendTable(ctx context.Context) error {
	err := n.inspectTable()
	if err == nil {
		return nil
	}
	n.log.Warn("the firewall table was changed by somebody else", "err", err)
	n.health.mendedTables.Add(1)
	if err := n.loads.Wait(ctx); err != nil {
		return err
	}
	return n.load(ctx)
}

// mendLinks sets up again every dyno whose link is missing or damaged. Whom it looks
// for is settled first: a link that is made meanwhile need not be in the lists.
func (n *Network) mendLinks(ctx context.Context) error {
	kept := n.health.all()
	sound, err := n.soundLinks()
	if err != nil {
		return err
	}
	for _, r := range kept {
		if !sound[r.owner().alias()] {
			n.mendDyno(ctx, r.ID)
		}
	}
	return nil
}

// mendDyno completes a dyno's network. What stands in the way may go: it is tried
// again with every look. Its namespace cannot be had again: whatever runs in it is
// cut off.
func (n *Network) mendDyno(ctx context.Context, id string) {
	release, err := n.dynos.take(ctx, id)
	if err != nil {
		return
	}
	defer release()
	r, ok := n.health.of(id)
	if !ok {
		return
	}
	bound, err := isMount(nsPath(n.cfg.dir(id)), unix.NSFS_MAGIC)
	if err == nil && !bound {
		err = errors.New("its namespace is gone")
	}
	if err == nil {
		err = n.setup(ctx, r)
	}
	switch {
	case err == nil:
		n.health.keep(r)
		n.log.Warn("mended a dyno's network", "dyno", id)
		n.health.mendedDynos.Add(1)
	case ctx.Err() == nil && n.health.lose(id, err):
		n.log.Error("a dyno's network is broken", "dyno", id, "err", err)
	}
}
