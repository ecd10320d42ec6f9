package agenttest

import (
	"context"
	"maps"
	"net/netip"
	"slices"
	"sync"

	"github.com/containerd/errdefs"

	"github.com/dynod/dynod/network"
)

// Network is a fake agent.Network.
type Network struct {
	mu        sync.Mutex
	slots     map[string]int
	requests  map[string]network.Request
	listening map[string]bool
	fail      error
	unready   error
	blocked   []int
	spares    map[int]bool
	warnings  []string
	dropped   map[string]bool
}

// NewNetwork is an empty one.
func NewNetwork() *Network {
	return &Network{slots: map[string]int{}, requests: map[string]network.Request{}, listening: map[string]bool{}, spares: map[int]bool{}, dropped: map[string]bool{}}
}

// Listen makes a dyno listen on its port.
func (n *Network) Listen(id string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.listening[id] = true
}

// Fail makes Setup fail until err is nil again.
func (n *Network) Fail(err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.fail = err
}

// Setup gives the slot's address.
func (n *Network) Setup(_ context.Context, r network.Request) (network.Attachment, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.fail != nil {
		return network.Attachment{}, n.fail
	}
	n.slots[r.ID], n.requests[r.ID] = r.Slot, r
	delete(n.spares, r.Slot)
	return network.Attachment{Addr: netip.AddrFrom4([4]byte{172, 16, 0, byte(4*r.Slot + 2)}), HostPort: uint16(20000 + r.Slot)}, nil
}

// Request is what Setup was asked for last.
func (n *Network) Request(id string) network.Request {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.requests[id]
}

// Prepare notes the slot until Setup takes it.
func (n *Network) Prepare(_ context.Context, slot int) (network.Attachment, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if slices.Contains(n.blocked, slot) {
		return network.Attachment{}, errdefs.ErrFailedPrecondition
	}
	if n.unready == nil {
		n.spares[slot] = true
	}
	return network.Attachment{}, n.unready
}

// Block makes Prepare refuse these slots, as if somebody else had something there.
func (n *Network) Block(slots ...int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.blocked = slots
}

// FailPrepare makes Prepare fail until err is nil again.
func (n *Network) FailPrepare(err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.unready = err
}

// DropSysfs notes it.
func (n *Network) DropSysfs(_ context.Context, id string) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.dropped[id] = true
	return nil
}

// Dropped says whether the dyno's sysfs was taken away.
func (n *Network) Dropped(id string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.dropped[id]
}

// Spares is the slots that are prepared, in order.
func (n *Network) Spares() []int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Sorted(maps.Keys(n.spares))
}

// Warn makes Warnings say this.
func (n *Network) Warn(warnings ...string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.warnings = warnings
}

// Warnings is what Warn said.
func (n *Network) Warnings() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.warnings
}

// Teardown forgets it.
func (n *Network) Teardown(_ context.Context, id string) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.slots, id)
	delete(n.listening, id)
	return nil
}

// Listening is what Listen said.
func (n *Network) Listening(_ context.Context, id string, _ uint16) (bool, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.listening[id], nil
}

// List is all that is set up.
func (n *Network) List(context.Context) ([]network.Found, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	var found []network.Found
	for id, slot := range n.slots {
		found = append(found, network.Found{ID: id, Slot: slot})
	}
	return found, nil
}
