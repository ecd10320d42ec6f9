package network

import (
	"bytes"
	"context"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/google/nftables"
)

// tellEvery is the least time between two lines about denied packets.
const tellEvery = time.Second

// tellDenied logs what the firewall has denied, until ctx ends: how many packets
// by which rule, and to which dynos.
func (n *Network) tellDenied(ctx context.Context) {
	before, _ := n.Denied()
	for ctx.Err() == nil {
		pause(ctx, nil, tellEvery)
		now, err := n.Denied()
		if err != nil {
			continue // the table is missing: it will be mended
		}
		delete(now, "invalid") // connections that end late have them every day
		if more := grown(before, now); more != nil {
			n.log.Warn("denied packets", "rules", slog.GroupValue(more...), "dynos", n.offenders())
		}
		before = now
	}
}

// grown are the counters that went up. One that went down began anew.
func grown(before, now map[string]uint64) (more []slog.Attr) {
	for rule, packets := range now {
		old := before[rule]
		if packets < old {
			old = 0
		}
		if packets > old {
			more = append(more, slog.Uint64(rule, packets-old))
		}
	}
	slices.SortFunc(more, func(a, b slog.Attr) int { return strings.Compare(a.Key, b.Key) })
	return more
}

// Denied counts the packets that each rule has denied since the firewall was
// loaded, by the rule's name in table.nft without its "denied_".
func (n *Network) Denied() (map[string]uint64, error) {
	packets := map[string]uint64{}
	n.elements.mu.Lock()
	defer n.elements.mu.Unlock()
	err := n.elements.ask(func(c *nftables.Conn) error {
		objects, err := c.GetObjects(inetTable)
		for _, o := range objects {
			if counter, ok := o.(*nftables.CounterObj); ok {
				packets[strings.TrimPrefix(counter.Name, "denied_")] = counter.Packets
			}
		}
		return err
	})
	return packets, err
}

// offenders are the dynos that were denied something lately.
func (n *Network) offenders() (ids []string) {
	n.elements.mu.Lock()
	defer n.elements.mu.Unlock()
	_ = n.elements.ask(func(c *nftables.Conn) error {
		links, err := c.GetSetElements(&nftables.Set{Table: inetTable, Name: "offenders"})
		for _, l := range links {
			name, _, _ := bytes.Cut(l.Key, []byte{0})
			slot, named := slotOfName(string(name))
			if id := n.health.in(slot); named && id != "" { // it may be gone
				ids = append(ids, id)
			}
		}
		return err
	})
	return ids
}
