package network

import (
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
	ID   string
	Slot int
	Port uint16
}

// Attachment is a dyno's network, ready for use.
type Attachment struct {
	Namespace string     // path of the network namespace
	Sysfs     string     // path of its sysfs, mounted read-only
	Addr      netip.Addr // of the dyno
	Gateway   netip.Addr // of the host, as the dyno sees it
	HostPort  uint16     // TCP port of the host that leads to $PORT
}

// Setup makes the network of a dyno. It may be repeated: what is missing is
// completed, and the answer is the same. After an error, whatever was made stays
// until Setup is repeated or Teardown is called.
//
// Errors: errdefs.ErrInvalidArgument for a request that makes no sense;
// errdefs.ErrAlreadyExists if another dyno holds the slot;
// errdefs.ErrFailedPrecondition if the dyno has another slot or port, or a
// foreign link has the name of ours. None of these changes anything.
func (n *Network) Setup(ctx context.Context, r Request) (Attachment, error) {
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
	dir := n.cfg.dir(r.ID)
	return Attachment{
		Namespace: nsPath(dir), Sysfs: sysPath(dir),
		Addr: n.cfg.addr(r.Slot), Gateway: n.cfg.gateway(r.Slot), HostPort: n.cfg.hostPort(r.Slot),
	}, nil
}

func (n *Network) checkRequest(r Request) error {
	switch {
	case !idForm.MatchString(r.ID):
		return fmt.Errorf("dyno id %q: %w", r.ID, errdefs.ErrInvalidArgument)
	case r.Slot < 0 || r.Slot >= n.cfg.Slots:
		return fmt.Errorf("slot %d of %d: %w", r.Slot, n.cfg.Slots, errdefs.ErrInvalidArgument)
	case r.Port == 0:
		return fmt.Errorf("port 0: %w", errdefs.ErrInvalidArgument)
	}
	return nil
}

// setup does the work in an order that any of its steps may be the last one:
// the claim names what follows, the namespace owns the link, and the firewall
// knows the dyno before the first packet can pass.
func (n *Network) setup(ctx context.Context, r Request) error {
	release, err := n.slots.take(ctx, linkName(r.Slot))
	if err != nil {
		return err
	}
	defer release()
	dir, want := n.cfg.dir(r.ID), owner{r.ID, r.Port}
	link, err := n.vacant(r.Slot, want)
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
	return errors.Join(n.connect(ctx, r, want, s, link), s.close())
}

// vacant returns the link of a slot if it is want's already, nil if there is
// none, and an error if somebody else holds it.
func (n *Network) vacant(slot int, want owner) (netlink.Link, error) {
	link, has, err := n.slotLink(slot)
	if err != nil || link == nil || has == want {
		return link, err
	}
	if has.id == want.id {
		return nil, fmt.Errorf("dyno has port %d: %w", has.port, errdefs.ErrFailedPrecondition)
	}
	if has.id != "" {
		return nil, fmt.Errorf("slot %d is held by dyno %s: %w", slot, has.id, errdefs.ErrAlreadyExists)
	}
	// Nobody's: left half-made by a Setup, or disowned by a Teardown, that did
	// not come to its end.
	return nil, n.deleteLink(link)
}

// connect joins the namespace s to the host and opens the firewall.
func (n *Network) connect(ctx context.Context, r Request, o owner, s *namespace, link netlink.Link) error {
	var err error
	if link != nil && s.fresh { // it leads to a namespace that was lost
		if err := n.deleteLink(link); err != nil {
			return err
		}
		link = nil
	}
	if link == nil {
		if link, err = n.makeLink(r.Slot, o, s); err != nil {
			return err
		}
	}
	if err := s.prepareInside(n.cfg, r.Slot); err != nil {
		return err
	}
	if err := n.prepareHostEnd(link, r.Slot); err != nil {
		return err
	}
	if err := n.addElements(ctx, n.dyno(r.Slot, o)); err != nil {
		return err
	}
	if err := n.host.LinkSetUp(link); err != nil {
		return fmt.Errorf("set link up: %w", err)
	}
	return errors.Join(awaitCarrier(ctx, s.links, insideName), awaitCarrier(ctx, n.host, linkName(r.Slot)))
}

func (n *Network) dyno(slot int, o owner) dyno {
	return dyno{
		ID: o.id, Link: linkName(slot), Addr: n.cfg.addr(slot),
		Port: o.port, HostPort: n.cfg.hostPort(slot),
	}
}

func claimPath(dir string) string { return filepath.Join(dir, "claim") }

// claim writes slot and port into the dyno's directory before anything else is
// made, as a symbolic link because that is there whole or not at all.
func claim(dir string, slot int, port uint16) error {
	if err := os.Mkdir(dir, 0o711); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("make dyno directory: %w", err)
	}
	want := strconv.Itoa(slot) + ":" + strconv.Itoa(int(port))
	err := os.Symlink(want, claimPath(dir))
	if err == nil {
		return nil
	}
	has, readErr := os.Readlink(claimPath(dir))
	if readErr != nil {
		return fmt.Errorf("claim slot: %w", err)
	}
	if has != want {
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
