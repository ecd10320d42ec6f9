package network

import (
	"fmt"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
)

// obstacles names every chain of somebody else that drops forwarded packets which
// it does not know: a drop is final, whatever our own table says.
func (n *Network) obstacles() (all []string, err error) {
	n.elements.mu.Lock()
	defer n.elements.mu.Unlock()
	err = n.elements.ask(func(c *nftables.Conn) error {
		chains, err := c.ListChains()
		if err != nil {
			return fmt.Errorf("list chains: %w", err)
		}
		for _, chain := range chains {
			if chain.Hooknum == nil || *chain.Hooknum != *nftables.ChainHookForward || !carriesIPv4(chain.Table) {
				continue
			}
			closed, err := closes(c, chain)
			if err != nil {
				return err
			}
			if closed {
				all = append(all, fmt.Sprintf("chain %s of firewall table %s drops forwarded packets that no rule there accepts: "+
					"dynos reach the outside, and it them, only if one accepts what comes from and goes to links dy*", chain.Name, chain.Table.Name))
			}
		}
		return nil
	})
	return all, err
}

func carriesIPv4(t *nftables.Table) bool {
	return t.Name != inetTable.Name && (t.Family == nftables.TableFamilyIPv4 || t.Family == nftables.TableFamilyINet)
}

// closes says whether a chain ends in a drop, by its policy or its last rule.
func closes(c *nftables.Conn, chain *nftables.Chain) (bool, error) {
	if chain.Policy != nil && *chain.Policy == nftables.ChainPolicyDrop {
		return true, nil
	}
	rules, err := c.GetRules(chain.Table, chain)
	if err != nil {
		return false, fmt.Errorf("list rules: %w", err)
	}
	if len(rules) == 0 {
		return false, nil
	}
	return unconditional(rules[len(rules)-1].Exprs), nil
}

// unconditional says whether a rule drops or rejects whatever comes.
func unconditional(exprs []expr.Any) bool {
	exprs = slices.DeleteFunc(slices.Clone(exprs), func(e expr.Any) bool { _, counts := e.(*expr.Counter); return counts })
	if len(exprs) != 1 {
		return false
	}
	v, ok := exprs[0].(*expr.Verdict)
	_, rejects := exprs[0].(*expr.Reject)
	return rejects || ok && v.Kind == expr.VerdictDrop
}
