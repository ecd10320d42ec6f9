package network

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"github.com/containerd/errdefs"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// goneAfter is how long Teardown leaves it to the end of a namespace to take the
// link along, which is cheaper than to delete it.
const goneAfter = 250 * time.Millisecond

// Teardown removes the network of a dyno and says nil when nothing is left of it
// on the host; it may be repeated. The slot is free then. Processes that are
// still in the namespace keep that, without a link.
func (n *Network) Teardown(ctx context.Context, id string) error {
	if !validID(id) {
		return fmt.Errorf("dyno id %q: %w", id, errdefs.ErrInvalidArgument)
	}
	release, err := n.dynos.take(ctx, id)
	if err != nil {
		return err
	}
	defer release()
	n.health.forget(id)
	if err := n.teardown(ctx, id); err != nil {
		return fmt.Errorf("tear down network: %w", err)
	}
	return nil
}

// teardown undoes setup. The claim goes last: as long as anything is left, it
// says where.
func (n *Network) teardown(ctx context.Context, id string) error {
	slot, known, err := n.slotOf(id)
	if err != nil {
		return err
	}
	if !known {
		return errors.Join(removeNamespace(n.cfg.dir(id)), removeDir(n.cfg.dir(id)))
	}
	release, err := n.slots.take(ctx, linkName(slot))
	if err != nil {
		return err
	}
	defer release()
	return n.demolish(ctx, id, slot)
}

// demolish is teardown of a dyno or spare whose slot the caller holds.
func (n *Network) demolish(ctx context.Context, id string, slot int) error {
	link, err := n.cut(ctx, id, slot)
	if err != nil {
		return err
	}
	dir := n.cfg.dir(id)
	if err := removeNamespace(dir); err != nil {
		return err
	}
	if err := n.awaitGone(ctx, link); err != nil {
		return err
	}
	return removeDir(dir)
}

// slotOf finds the slot of a dyno by its claim, or else by its link. Should both
// be gone, by another hand than ours, elements may stay that lead nowhere: until
// the slot is used again or the table is loaded.
func (n *Network) slotOf(id string) (slot int, ok bool, err error) {
	if slot, ok := claimed(n.cfg.dir(id)); ok {
		return slot, true, nil
	}
	owners, err := n.owned()
	for slot, o := range owners {
		if o.id == id {
			return slot, true, nil
		}
	}
	return 0, false, err
}

// cut makes the link of a dyno nobody's and ends all its traffic. It returns the
// link, or nil if there is none. A slot that another dyno holds by now is left
// alone; elements in one that nobody holds can only be leftovers, of which the
// table is rid when it is loaded anew.
func (n *Network) cut(ctx context.Context, id string, slot int) (netlink.Link, error) {
	link, o, err := n.slotLink(slot)
	if errdefs.IsFailedPrecondition(err) || o.id != "" && o.id != id {
		return nil, nil // a foreign link or dyno: nothing of ours is behind it
	}
	if err != nil {
		return nil, err
	}
	disown := func() error { return n.disown(link) }
	if o.id == id {
		err = n.changeElements(ctx, disown, n.dyno(slot, o).elements(), nil)
	} else {
		err = errors.Join(disown(), n.load(ctx))
	}
	if err != nil {
		return nil, err
	}
	return link, n.connections.forget(ctx, n.cfg.addr(slot))
}

func (n *Network) disown(link netlink.Link) error {
	if link == nil {
		return nil
	}
	err := n.host.LinkSetAlias(link, "")
	if err != nil && !errors.Is(err, unix.ENODEV) { // gone with its namespace
		return fmt.Errorf("disown link: %w", err)
	}
	return nil
}

// awaitGone waits for the kernel to end the namespace and to take the link
// along. Processes in it, or connections that their peers do not close, delay
// that: then the link is deleted, which frees its name and address at least.
func (n *Network) awaitGone(ctx context.Context, link netlink.Link) error {
	if link == nil {
		return nil
	}
	enough := time.NewTimer(goneAfter)
	defer enough.Stop()
	for {
		_, err := n.host.LinkByIndex(link.Attrs().Index)
		if errors.As(err, new(netlink.LinkNotFoundError)) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("find link: %w", err)
		}
		select {
		case <-time.After(2 * time.Millisecond):
		case <-enough.C:
			return n.deleteLink(link)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func removeDir(dir string) error {
	for _, path := range []string{claimPath(dir), dir} {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("remove dyno directory: %w", err)
		}
	}
	return nil
}
