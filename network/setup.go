package network

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/vishvananda/netlink"
)

// Request names a dyno, the slot that its caller gave it, and the port that it
// will listen on inside: its $PORT.
type Request struct {
	ID     string
	Slot   int
	Port   uint16
	Policy string // of Config.Policies, any other is closed outwards; empty: DefaultPolicy
	Size   string // of Config.Sizes; any other has no limits
	Space  string // dynos of one private space reach one another; empty: none
}

// Attachment is a dyno's network, ready for use.
type Attachment struct {
	Namespace string     // path of the network namespace
	Sysfs     string     // path of its sysfs, mounted read-only until DropSysfs
	Addr      netip.Addr // of the dyno
	Gateway   netip.Addr // of the host, as the dyno sees it
	HostPort  uint16     // TCP port of the host that leads to $PORT
}

// Setup gives a dyno its network: the one that Prepare has made for its slot, or
// else a new one. It may be repeated: what is missing is completed, and the answer
// is the same. Policy, size and space may differ then: they change at once, and
// connections that the dyno has stay, but for those within a space that it leaves.
// After an error, whatever was made stays until
// Setup is repeated or Teardown is called.
//
// Errors: errdefs.ErrInvalidArgument for a request that makes no sense;
// errdefs.ErrAlreadyExists if another dyno holds the slot;
// errdefs.ErrFailedPrecondition if the dyno has another slot or port, or a
// foreign link has the name of ours. None of these changes anything.
func (n *Network) Setup(ctx context.Context, r Request) (Attachment, error) {
	r = r.complete()
	if err := n.checkRequest(r); err != nil {
		return Attachment{}, err
	}
	release, err := n.dynos.take(ctx, r.ID)
	if err != nil {
		return Attachment{}, err
	}
	defer release()
	if err := n.setup(ctx, r); err != nil {
		return Attachment{}, fmt.Errorf("set up network: %w", err)
	}
	n.health.keep(r)
	return n.attachment(r), nil
}

func (n *Network) attachment(r Request) Attachment {
	dir := n.cfg.dir(r.ID)
	return Attachment{
		Namespace: nsPath(dir), Sysfs: sysPath(dir),
		Addr: n.cfg.addr(r.Slot), Gateway: n.cfg.gateway(r.Slot), HostPort: n.cfg.hostPort(r.Slot),
	}
}

func (r Request) complete() Request {
	r.Policy = cmp.Or(r.Policy, DefaultPolicy)
	return r
}

func (n *Network) checkRequest(r Request) error {
	switch {
	case !validID(r.ID):
		return fmt.Errorf("dyno id %q: %w", r.ID, errdefs.ErrInvalidArgument)
	case r.Port == 0:
		return fmt.Errorf("port 0: %w", errdefs.ErrInvalidArgument)
	case !validName(r.Policy):
		return fmt.Errorf("network policy %q: %w", r.Policy, errdefs.ErrInvalidArgument)
	case r.Size != "" && !validName(r.Size):
		return fmt.Errorf("size %q: %w", r.Size, errdefs.ErrInvalidArgument)
	}
	return n.checkSlot(r.Slot)
}

func (n *Network) checkSlot(slot int) error {
	if slot < 0 || slot >= n.cfg.Slots {
		return fmt.Errorf("slot %d of %d: %w", slot, n.cfg.Slots, errdefs.ErrInvalidArgument)
	}
	return nil
}

func (n *Network) setup(ctx context.Context, r Request) error {
	release, err := n.slots.take(ctx, linkName(r.Slot))
	if err != nil {
		return err
	}
	defer release()
	if err := checkClaim(n.cfg.dir(r.ID), r.Slot, r.Port); err != nil {
		return err
	}
	if s := n.spares.take(r.Slot); s != nil {
		return n.occupy(ctx, s, r)
	}
	return n.make(ctx, r)
}

// make makes what is missing, in an order that any of its steps may be the last
// one: the claim names what follows, the namespace owns the link, and the
// firewall knows the dyno before the first packet can pass. The caller holds the
// slot.
func (n *Network) make(ctx context.Context, r Request) error {
	dir := n.cfg.dir(r.ID)
	link, has, err := n.vacant(ctx, r.Slot, r.owner())
	if err != nil {
		return err
	}
	if err := claim(dir, r.Slot, r.Port); err != nil {
		return err
	}
	s, err := openNamespace(dir)
	if err != nil {
		return err
	}
	return errors.Join(n.connect(ctx, r, s, link, has), s.close())
}

// vacant returns the link of a slot if it is want's already, nil if there is
// none, and an error if somebody else holds it.
func (n *Network) vacant(ctx context.Context, slot int, want owner) (netlink.Link, owner, error) {
	link, has, err := n.slotLink(slot)
	if err != nil || link == nil || has.same(want) {
		return link, has, err
	}
	if has.id == want.id {
		return nil, has, fmt.Errorf("dyno has port %d: %w", has.port, errdefs.ErrFailedPrecondition)
	}
	if _, spare := spareSlot(has.id); spare { // left half-made by Prepare
		return nil, owner{}, n.demolish(ctx, has.id, slot)
	}
	if has.id != "" {
		return nil, has, fmt.Errorf("slot %d is held by dyno %s: %w", slot, has.id, errdefs.ErrAlreadyExists)
	}
	// Nobody's: left half-made by a Setup, or disowned by a Teardown, that did not
	// come to its end. Either may have left elements.
	return nil, owner{}, errors.Join(n.deleteLink(link), n.load(ctx))
}

// connect joins the namespace s to the host and opens the firewall. The link, if
// there is one, is has's, which is the dyno as it was before.
func (n *Network) connect(ctx context.Context, r Request, s *namespace, link netlink.Link, has owner) error {
	var err error
	if link != nil && s.fresh { // it leads to a namespace that was lost
		if err := n.deleteLink(link); err != nil {
			return err
		}
		link = nil
	}
	if link == nil {
		if link, err = n.makeLink(r.Slot, s); err != nil {
			return err
		}
	}
	if err := n.prepareEnds(r, s, link); err != nil {
		return err
	}
	if err := n.own(ctx, link, r, has); err != nil {
		return err
	}
	if err := n.host.LinkSetUp(link); err != nil {
		return fmt.Errorf("set link up: %w", err)
	}
	if err := n.lead(link, r.Slot); err != nil {
		return err
	}
	return errors.Join(awaitCarrier(ctx, s.links, insideName), awaitCarrier(ctx, n.host, linkName(r.Slot)))
}

// prepareEnds gives both ends everything but life.
func (n *Network) prepareEnds(r Request, s *namespace, link netlink.Link) error {
	inside, err := s.prepareInside(n.cfg, r.Slot, link)
	if err != nil {
		return err
	}
	if err := s.wall(n.cfg, *n.others.Load()); err != nil {
		return err
	}
	if err := n.prepareHostEnd(link, inside, r.Slot); err != nil {
		return err
	}
	if err := s.route(inside, n.cfg, r.Slot, r.Space != ""); err != nil {
		return err
	}
	rate := n.cfg.Sizes[r.Size].Bandwidth
	return errors.Join(shape(s.links, inside, rate), shape(n.host, link, rate))
}

// own marks the link as the dyno's and lets the firewall follow.
func (n *Network) own(ctx context.Context, link netlink.Link, r Request, has owner) error {
	mark := func() error {
		if err := n.host.LinkSetAlias(link, r.owner().alias()); err != nil {
			return fmt.Errorf("claim link: %w", err)
		}
		return nil
	}
	var before []element
	if has.id != "" {
		before = n.dyno(r.Slot, has).elements()
	}
	after := n.dyno(r.Slot, r.owner()).elements()
	return n.changeElements(ctx, mark, without(before, after), after)
}

func claimPath(dir string) string { return filepath.Join(dir, "claim") }

// claim writes slot and port into the dyno's directory before anything else is
// made, as a symbolic link because that is there whole or not at all.
func claim(dir string, slot int, port uint16) error {
	if err := os.Mkdir(dir, 0o711); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("make dyno directory: %w", err)
	}
	err := os.Symlink(claimText(slot, port), claimPath(dir))
	if errors.Is(err, fs.ErrExist) {
		return checkClaim(dir, slot, port)
	}
	if err != nil {
		return fmt.Errorf("claim slot: %w", err)
	}
	return nil
}

func claimText(slot int, port uint16) string {
	return strconv.Itoa(slot) + ":" + strconv.Itoa(int(port))
}

// checkClaim refuses another slot or port than a dyno has claimed.
func checkClaim(dir string, slot int, port uint16) error {
	has, err := os.Readlink(claimPath(dir))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read claim: %w", err)
	}
	if want := claimText(slot, port); has != want {
		return fmt.Errorf("dyno has slot:port %s, not %s: %w", has, want, errdefs.ErrFailedPrecondition)
	}
	return nil
}

// claimed is the slot that the dyno in dir has claimed.
func claimed(dir string) (slot int, ok bool) {
	has, err := os.Readlink(claimPath(dir))
	if err != nil {
		return 0, false
	}
	text, _, _ := strings.Cut(has, ":")
	slot, err = strconv.Atoi(text)
	return slot, err == nil && slot >= 0
}
