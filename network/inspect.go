package network

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/google/nftables"
)

// inspectTable compares the table with what was loaded, and its elements with
// what the links say.
func (n *Network) inspectTable() error {
	n.elements.mu.Lock()
	defer n.elements.mu.Unlock()
	dynos, err := n.living()
	if err != nil {
		return err
	}
	want := map[string][]element{}
	for _, set := range n.cfg.sets() {
		want[set] = nil
	}
	for _, d := range dynos {
		for _, e := range d.elements() {
			want[e.set] = append(want[e.set], e)
		}
	}
	return n.elements.ask(func(c *nftables.Conn) error {
		if has, err := describe(c); err != nil || has != n.elements.shape {
			return errors.Join(err, errors.New("its rules are not those that were loaded"))
		}
		for set, elements := range want {
			if err := compare(c, set, elements); err != nil {
				return err
			}
		}
		return nil
	})
}

// sets are the sets and maps that hold elements of dynos.
func (c Config) sets() []string {
	all := []string{"sources", "ports", "doors", "spaces", "members", closedPolicy}
	for _, p := range c.policyChains() {
		if p.Name != DefaultPolicy {
			all = append(all, p.Chain)
		}
	}
	for _, s := range c.sizeChains() {
		all = append(all, s.Chain)
	}
	return all
}

func compare(c *nftables.Conn, set string, want []element) error {
	has, err := c.GetSetElements(&nftables.Set{Table: inetTable, Name: set})
	if err != nil {
		return fmt.Errorf("read elements: %w", err)
	}
	byKey := make(map[string]nftables.SetElement, len(has))
	for _, e := range has {
		byKey[string(e.Key)] = e
	}
	for _, e := range want {
		if found, ok := byKey[string(e.key)]; !ok || !bytes.Equal(e.val, found.Val) {
			return fmt.Errorf("%s lacks %s", set, e.text)
		}
	}
	if len(has) != len(want) {
		return fmt.Errorf("%s has %d elements, not %d", set, len(has), len(want))
	}
	return nil
}

// remember notes how the table looks that was just loaded. The caller holds mu.
func (e *elements) remember() error {
	return e.ask(func(c *nftables.Conn) (err error) {
		e.shape, err = describe(c)
		return err
	})
}

// describe is the table without its elements: chains, where they are hooked in,
// and the handles of their rules, which the kernel gives out once.
func describe(c *nftables.Conn) (string, error) {
	chains, err := c.ListChainsOfTableFamily(inetTable.Family)
	if err != nil {
		return "", fmt.Errorf("list chains: %w", err)
	}
	var all []string
	for _, chain := range chains {
		if chain.Table.Name != inetTable.Name {
			continue
		}
		rules, err := c.GetRules(inetTable, chain)
		if err != nil {
			return "", fmt.Errorf("list rules: %w", err)
		}
		text := fmt.Sprintf("%s %d %d", chain.Name, deref(chain.Hooknum), deref(chain.Policy))
		for _, r := range rules {
			text += fmt.Sprintf(" %d", r.Handle)
		}
		all = append(all, text)
	}
	slices.Sort(all)
	return strings.Join(all, "\n"), nil
}

// deref is what p points to, -1 for nil.
func deref[T ~uint32](p *T) int64 {
	if p == nil {
		return -1
	}
	return int64(*p)
}
