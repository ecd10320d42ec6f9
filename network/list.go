package network

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/vishvananda/netlink"
)

// Found is a dyno that has a network, or part of one.
type Found struct {
	ID   string
	Slot int // -1 if it had not even claimed one
}

// List returns every dyno of which anything is left that Teardown would remove,
// in no order.
func (n *Network) List(ctx context.Context) ([]Found, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	slots, err := n.claims()
	if err != nil {
		return nil, err
	}
	links, err := n.owned()
	if err != nil {
		return nil, err
	}
	for slot, o := range links {
		if validID(o.id) { // no spare
			slots[o.id] = slot
		}
	}
	found := make([]Found, 0, len(slots))
	for id, slot := range slots {
		found = append(found, Found{id, slot})
	}
	return found, nil
}

// claims maps ids to slots by the directories of namespaces.
func (n *Network) claims() (map[string]int, error) {
	entries, err := os.ReadDir(n.cfg.Dir)
	if err != nil {
		return nil, fmt.Errorf("list namespaces: %w", err)
	}
	slots := make(map[string]int, len(entries))
	for _, e := range entries {
		if !e.IsDir() || !validID(e.Name()) {
			continue
		}
		slot, ok := claimed(n.cfg.dir(e.Name()))
		if !ok {
			slot = -1
		}
		slots[e.Name()] = slot
	}
	return slots, nil
}

// owned maps slots to owners by the host's links.
func (n *Network) owned() (map[int]owner, error) {
	links, err := dump(n.host.LinkList)
	if err != nil {
		return nil, fmt.Errorf("list links: %w", err)
	}
	owners := make(map[int]owner)
	for _, link := range links {
		slot, named := slotOfName(link.Attrs().Name)
		o, marked := parseAlias(link.Attrs().Alias)
		if named && marked && link.Attrs().Group == linkGroup {
			owners[slot] = o
		}
	}
	return owners, nil
}

func slotOfName(name string) (int, bool) {
	digits, ok := strings.CutPrefix(name, "dy")
	slot, err := strconv.Atoi(digits)
	return slot, ok && err == nil && linkName(slot) == name
}

// living returns all dynos with a link, for the firewall. One that the
// configuration would give another address must not be taken over.
func (n *Network) living() ([]dyno, error) {
	owners, err := n.owned()
	if err != nil {
		return nil, err
	}
	dynos := make([]dyno, 0, len(owners))
	for slot, o := range owners {
		if slot >= n.cfg.Slots {
			return nil, fmt.Errorf("dyno %s lives in slot %d of %d: %w", o.id, slot, n.cfg.Slots, errdefs.ErrFailedPrecondition)
		}
		dynos = append(dynos, n.dyno(slot, o))
	}
	return dynos, nil
}

// dump repeats a listing that changed while the kernel wrote it out.
func dump[T any](list func() ([]T, error)) (all []T, err error) {
	for range 20 {
		if all, err = list(); !errors.Is(err, netlink.ErrDumpInterrupted) {
			return all, err
		}
	}
	return nil, err
}
