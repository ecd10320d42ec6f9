package network_test

import (
	"fmt"
	"os"
	"slices"
	"sync"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/google/uuid"

	"github.com/dynod/dynod/network"
)

// undone takes back what makes a network, one step after the other, the last one first:
// what is left after each is what an agent leaves that is killed there.
func (h *host) undone(dir string) []func() {
	return []func(){
		func() { h.run(h.Lab.Host(), "ip", "link", "set", "dy7", "down") },
		func() { h.run(h.Lab.Host(), "nft", "flush set inet dynod sources; flush map inet dynod ports") },
		func() { h.run(h.Lab.Host(), "ip", "link", "set", "dy7", "alias", "") },
		func() { h.run(dir+"/ns", "ip", "route", "flush", "table", "main") },
		func() { h.run(h.Lab.Host(), "ip", "addr", "flush", "dev", "dy7") },
		func() { h.run(dir+"/ns", "nft", "flush", "ruleset") },
		func() { h.run(dir+"/ns", "ip", "link", "set", "eth0", "down") },
		func() { h.run(dir+"/ns", "ip", "addr", "flush", "dev", "eth0") },
		func() { h.run(h.Lab.Host(), "ip", "link", "del", "dy7") },
		func() { h.run("", "umount", "--lazy", dir+"/sys") },
		func() { h.run("", "rmdir", dir+"/sys") },
		func() { h.run("", "umount", "--lazy", dir+"/ns") },
		func() { h.run("", "rm", dir+"/ns") },
		func() { h.run("", "rm", dir+"/claim") },
	}
}

// TestHalfMadeSpareIsSweptAndRemade has agents killed within Prepare.
func TestHalfMadeSpareIsSweptAndRemade(t *testing.T) {
	h := newHost(t)
	h.serve(h.Outside(), outside(80))
	before := h.snapshot()
	steps := h.undone(h.config().Dir + "/+7")
	for left := range steps {
		h.prepare(7)
		for _, undo := range steps[:left+1] {
			undo()
		}
		h.restart()
		h.finds()
		h.nothingBeyond(before)
		h.prepare(7)
		id, a := h.setup(7)
		h.reaches(a.Namespace, outside(80))
		h.teardown(id)
		if t.Failed() {
			t.Fatalf("after step %d of %d", len(steps)-left-1, len(steps))
		}
	}
	h.nothingBeyond(before)
}

// TestHalfMadeNetworkIsCompleted has agents killed within Setup. Until the dyno is torn
// down, nobody else gets its slot once it has a link; and then at once.
func TestHalfMadeNetworkIsCompleted(t *testing.T) {
	h := newHost(t)
	h.serve(h.Outside(), outside(80))
	before := h.snapshot()
	r := network.Request{ID: uuid.NewString(), Slot: 7, Port: 3000}
	steps := h.undone(h.config().Dir + "/" + r.ID)
	for left := range steps {
		h.again(r)
		for _, undo := range steps[:left+1] {
			undo()
		}
		h.restart()
		h.finds(network.Found{ID: r.ID, Slot: map[bool]int{true: 7, false: -1}[left < len(steps)-1]})
		h.reaches(h.again(r).Namespace, outside(80))
		h.finds(network.Found{ID: r.ID, Slot: 7})
		other := network.Request{ID: uuid.NewString(), Slot: 7, Port: 3000}
		if _, err := h.Setup(t.Context(), other); !errdefs.IsAlreadyExists(err) {
			t.Errorf("another dyno in the slot: %v", err)
		}
		h.teardown(r.ID)
		h.reaches(h.again(other).Namespace, outside(80))
		h.teardown(other.ID)
		if t.Failed() {
			t.Fatalf("after step %d of %d", len(steps)-left-1, len(steps))
		}
	}
	h.nothingBeyond(before)
}

// TestSetupsAtOnce asks for the same dyno many times at once, and then for as many dynos
// in one slot: one network comes about, and it works.
func TestSetupsAtOnce(t *testing.T) {
	h := newHost(t)
	h.serve(h.Outside(), outside(80))
	before := h.snapshot()
	at := func(requests []network.Request) (got []network.Attachment, refused int) {
		var all sync.WaitGroup
		var mu sync.Mutex
		for _, r := range requests {
			all.Go(func() {
				a, err := h.Setup(t.Context(), r)
				mu.Lock()
				defer mu.Unlock()
				switch {
				case err == nil:
					got = append(got, a)
				case errdefs.IsAlreadyExists(err):
					refused++
				default:
					t.Error(err)
				}
			})
		}
		all.Wait()
		return got, refused
	}
	for round := range 4 {
		if round%2 == 1 {
			h.prepare(7)
		}
		same := network.Request{ID: fmt.Sprint("one-", round), Slot: 7, Port: 3000}
		got, refused := at(slices.Repeat([]network.Request{same}, 8))
		if len(got) != 8 || refused > 0 || len(slices.Compact(got)) != 1 {
			t.Fatalf("the same dyno: %+v, %d refused", got, refused)
		}
		h.reaches(got[0].Namespace, outside(80))
		h.teardown(same.ID)
		var others []network.Request
		for i := range 8 {
			others = append(others, network.Request{ID: fmt.Sprint("of-many-", i), Slot: 7, Port: 3000})
		}
		got, refused = at(others)
		if len(got) != 1 || refused != 7 {
			t.Fatalf("dynos in one slot: %+v, %d refused", got, refused)
		}
		h.reaches(got[0].Namespace, outside(80))
		for _, r := range others {
			h.teardown(r.ID)
		}
	}
	h.finds()
	if entries, err := os.ReadDir(h.config().Dir); err != nil || len(entries) > 0 {
		t.Errorf("left over: %v, %v", entries, err)
	}
	h.nothingBeyond(before)
}
