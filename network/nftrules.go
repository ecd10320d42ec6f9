package network

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/mdlayher/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// onTheWay are the hooks that every packet from or to a dyno passes.
var onTheWay = []*nftables.ChainHook{nftables.ChainHookPrerouting, nftables.ChainHookForward, nftables.ChainHookPostrouting}

func passes(c *nftables.Chain) bool {
	if c.Hooknum == nil {
		return false
	}
	for _, hook := range onTheWay {
		if *c.Hooknum == *hook {
			return true
		}
	}
	return false
}

func carriesIPv4(t *nftables.Table) bool {
	return t.Name != inetTable.Name && (t.Family == nftables.TableFamilyIPv4 || t.Family == nftables.TableFamilyINet)
}

// nftObstacles looks through the chains of nftables, which iptables-nft uses too.
// Its connection is its own: others' tables may be long, and orders do not wait for
// them.
func (n *Network) nftObstacles(packets []packet) (all []Obstacle, err error) {
	c, err := openFirewall(n.ns)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, c.CloseLasting()) }()
	bases, err := c.ListChains()
	if err != nil {
		return nil, fmt.Errorf("list chains: %w", err)
	}
	for _, base := range bases {
		if !passes(base) || !carriesIPv4(base.Table) {
			continue
		}
		closed := base.Policy != nil && *base.Policy == nftables.ChainPolicyDrop
		where := fmt.Sprintf("chain %s of firewall table %s", base.Name, base.Table.Name)
		o, err := nftChains(c, base.Table).obstacle(base.Name, where, closed, packets)
		if err != nil {
			return nil, err
		}
		if o != nil {
			all = append(all, *o)
		}
	}
	return all, nil
}

// openFirewall connects to the nftables of a namespace, for one piece of work within
// callTimeout.
func openFirewall(ns netns.NsHandle) (*nftables.Conn, error) {
	limit := func(c *netlink.Conn) error { return c.SetDeadline(time.Now().Add(callTimeout)) }
	c, err := nftables.New(nftables.AsLasting(), nftables.WithNetNSFd(int(ns)), nftables.WithSockOptions(limit))
	if err != nil {
		return nil, fmt.Errorf("open namespace's firewall: %w", err)
	}
	return c, nil
}

// nftChains reads each chain of a table once, when it is asked for.
func nftChains(c *nftables.Conn, t *nftables.Table) chains {
	read := map[string][]rule{}
	return func(name string) ([]rule, error) {
		if rules, ok := read[name]; ok {
			return rules, nil
		}
		found, err := c.GetRules(t, &nftables.Chain{Table: t, Name: name})
		if err != nil && !errors.Is(err, unix.ENOENT) {
			return nil, fmt.Errorf("list rules: %w", err)
		}
		for _, f := range found {
			read[name] = append(read[name], nftRule(f.Exprs))
		}
		return read[name], nil
	}
}

// nftRule reads a rule's expressions: a key into a register, what it is compared
// with, and the verdict at the end.
func nftRule(exprs []expr.Any) (r rule) {
	var key expr.MetaKey
	for _, e := range exprs {
		switch e := e.(type) {
		case *expr.Counter, *expr.Log:
		case *expr.Meta:
			key = e.Key
			r.narrow = r.narrow || linkOf(&r, key) == nil
		case *expr.Cmp:
			if m := linkOf(&r, key); m != nil {
				*m = matchOf(key, e)
			} else {
				r.narrow = true
			}
		case *expr.Verdict:
			r.outcome, r.chain = nftVerdict(e.Kind), e.Chain
		case *expr.Reject:
			r.outcome = drops
		case *expr.Target:
			r.outcome = xtVerdict(e.Name)
		default:
			r.narrow = true
		}
	}
	return r
}

// linkOf is the match of r that a key belongs to, nil if it tells nothing of links.
func linkOf(r *rule, key expr.MetaKey) *match {
	switch key {
	case expr.MetaKeyIIFNAME, expr.MetaKeyIIF, expr.MetaKeyIIFGROUP:
		return &r.in
	case expr.MetaKeyOIFNAME, expr.MetaKeyOIF, expr.MetaKeyOIFGROUP:
		return &r.out
	}
	return nil
}

// matchOf reads a comparison. An index is that of a lasting link, so of no dyno's.
func matchOf(key expr.MetaKey, e *expr.Cmp) match {
	m := match{inverse: e.Op == expr.CmpOpNeq}
	switch key {
	case expr.MetaKeyIIFNAME, expr.MetaKeyOIFNAME:
		name, _, whole := bytes.Cut(e.Data, []byte{0})
		m.name, m.prefix = string(name), !whole
	case expr.MetaKeyIIFGROUP, expr.MetaKeyOIFGROUP:
		if len(e.Data) == 4 && binary.NativeEndian.Uint32(e.Data) == linkGroup {
			m.name, m.prefix = linkPrefix, true
		} else {
			m.name = "another group"
		}
	default:
		m.name = "another link"
	}
	return m
}

func nftVerdict(kind expr.VerdictKind) outcome {
	switch kind {
	case expr.VerdictAccept:
		return accepts
	case expr.VerdictDrop:
		return drops
	case expr.VerdictReturn:
		return returns
	case expr.VerdictJump:
		return jumps
	case expr.VerdictGoto:
		return leaps
	}
	return goesOn
}

// xtVerdict is that of a target of iptables, which nftables knows by name only.
func xtVerdict(target string) outcome {
	if target == "REJECT" || target == "DROP" {
		return drops
	}
	return goesOn
}
