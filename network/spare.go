package network

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"slices"
	"sync"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// spares are the networks that nobody has taken yet, by slot.
type spares struct {
	mu     sync.Mutex
	bySlot map[int]*spare
}

// spare is a network that is ready but for its owner.
type spare struct {
	link netlink.Link
	host []netip.Addr // what its wall closes
	hurt bool         // it has lost its neighbour or a route
	Request
}

func (s *spares) put(one *spare) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.bySlot == nil {
		s.bySlot = map[int]*spare{}
	}
	s.bySlot[one.Slot] = one
}

func (s *spares) take(slot int) *spare {
	s.mu.Lock()
	defer s.mu.Unlock()
	one := s.bySlot[slot]
	delete(s.bySlot, slot)
	return one
}

// hurt notes damage, which is mended when the spare is taken.
func (s *spares) hurt(slot int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if one := s.bySlot[slot]; one != nil {
		one.hurt = true
	}
}

func (s *spares) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.bySlot)
}

// whole says whether there is one to which nothing has to be done.
func (s *spares) whole(slot int, host []netip.Addr) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	one := s.bySlot[slot]
	return one != nil && one.whole(host)
}

// whole says whether a spare has lost nothing, and closes what the host has now.
func (s *spare) whole(host []netip.Addr) bool { return !s.hurt && slices.Equal(s.host, host) }

// Prepare makes a network for a slot that is free, ahead of whoever gets the slot:
// Setup then takes it at once, and its paths change. It may be repeated, and then
// completes one that was damaged, or made before the host got an address. A spare is
// used once; one that nobody takes is removed by the next New. Errors as of Setup.
func (n *Network) Prepare(ctx context.Context, slot int) (Attachment, error) {
	if err := n.checkSlot(slot); err != nil {
		return Attachment{}, err
	}
	release, err := n.slots.take(ctx, linkName(slot))
	if err != nil {
		return Attachment{}, err
	}
	defer release()
	if !n.spares.whole(slot, *n.others.Load()) {
		n.spares.take(slot)
		if err := n.prepare(ctx, slot); err != nil {
			return Attachment{}, fmt.Errorf("prepare network: %w", err)
		}
	}
	return n.attachment(Request{ID: spareID(slot), Slot: slot}), nil
}

func (n *Network) prepare(ctx context.Context, slot int) error {
	r := n.cfg.Spare.complete()
	r.ID, r.Slot = spareID(slot), slot
	host := *n.others.Load()
	if err := n.make(ctx, r); err != nil {
		return errors.Join(err, n.abandon(ctx, r))
	}
	link, _, err := n.slotLink(slot)
	if err != nil {
		return err
	}
	n.spares.put(&spare{link: link, host: host, Request: r})
	return nil
}

// abandon removes what was made of a spare, if anything was.
func (n *Network) abandon(ctx context.Context, r Request) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), callTimeout)
	defer cancel()
	if _, err := os.Stat(n.cfg.dir(r.ID)); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return n.demolish(ctx, r.ID, r.Slot)
}

// occupy makes a spare r's, and changes it as far as r is not what it was made
// for. One that was damaged meanwhile makes room for a new network.
func (n *Network) occupy(ctx context.Context, s *spare, r Request) error {
	var damage error
	rename := func() error {
		damage = n.rename(s, r)
		return damage
	}
	var made, wanted []element
	if as := s.owner(); !as.alike(r.owner()) {
		made, wanted = n.dyno(r.Slot, as).elements(), n.dyno(r.Slot, r.owner()).elements()
	}
	err := n.changeElements(ctx, rename, without(made, wanted), without(wanted, made))
	if damage != nil {
		n.log.Warn("a network made ahead is of no use", "slot", r.Slot, "err", damage)
		err = errors.Join(n.disown(s.link), n.demolish(ctx, s.ID, r.Slot))
	}
	if err != nil {
		return err
	}
	if damage != nil || !n.fits(s, r) {
		return n.make(ctx, r)
	}
	return nil
}

// fits says whether a spare is inside what r has to be.
func (n *Network) fits(s *spare, r Request) bool {
	return s.whole(*n.others.Load()) && r.Space == s.Space && n.cfg.Sizes[r.Size].Bandwidth == n.cfg.Sizes[s.Size].Bandwidth
}

// rename gives a spare its owner. The link comes first: what has no owner is
// nobody's, and what has one is found.
func (n *Network) rename(s *spare, r Request) error {
	dir := n.cfg.dir(s.ID)
	if bound, err := isMount(nsPath(dir), unix.NSFS_MAGIC); !bound {
		return errors.Join(err, errors.New("its namespace is gone"))
	}
	if r.Port != s.Port {
		if err := os.Remove(claimPath(dir)); err != nil {
			return fmt.Errorf("change claim: %w", err)
		}
		if err := claim(dir, r.Slot, r.Port); err != nil {
			return err
		}
	}
	if err := n.quick.LinkSetAlias(s.link, r.owner().alias()); err != nil {
		return fmt.Errorf("claim link: %w", err)
	}
	if err := unix.Rename(dir, n.cfg.dir(r.ID)); err != nil { // os.Rename looks first
		return fmt.Errorf("rename dyno directory: %w", err)
	}
	return nil
}

// sweep removes the spares that an earlier Network left, and what it left half
// made or half taken.
func (n *Network) sweep() error {
	entries, err := os.ReadDir(n.cfg.Dir)
	if err != nil {
		return fmt.Errorf("list namespaces: %w", err)
	}
	for _, e := range entries {
		if slot, ok := spareSlot(e.Name()); ok && e.IsDir() {
			if err := n.discard(e.Name(), slot); err != nil {
				return fmt.Errorf("remove a network made ahead: %w", err)
			}
		}
	}
	return nil
}

// discard removes a spare that no firewall table counts on: New loads one next.
// Its link is nobody's from now on, and goes when the kernel has ended the
// namespace.
func (n *Network) discard(id string, slot int) error {
	link, o, err := n.slotLink(slot)
	if err != nil || o.id != id {
		link = nil // foreign, or a dyno's by now
	}
	if err := n.disown(link); err != nil {
		return err
	}
	if err := removeNamespace(n.cfg.dir(id)); err != nil {
		return err
	}
	return removeDir(n.cfg.dir(id))
}
