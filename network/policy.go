package network

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
)

// Policy says what dynos that name it reach outside, beside what is closed to
// all. Deny wins over Allow; with an empty Allow, everything else is open.
type Policy struct{ Allow, Deny []Destination }

// Destination is a part of the outside: by TCP and UDP port, or whole with port 0.
type Destination struct {
	Prefix netip.Prefix
	Port   uint16
}

// Limits are a dyno's share of the host's network; zero is none.
type Limits struct {
	Bandwidth   uint64 // bytes a second, each way
	Connections uint32 // that it has opened and that are tracked, at once
	Rate        uint32 // new connections a second that it opens; as many at once
}

// DefaultPolicy is the policy of requests that name none. It is always there,
// and open unless Config says otherwise.
const DefaultPolicy = "default"

// closedPolicy is the chain of policies that the configuration has no more.
const closedPolicy = "policy_closed"

func (c Config) checkNames() error {
	for _, name := range slices.Concat(slices.Collect(maps.Keys(c.Policies)), slices.Collect(maps.Keys(c.Sizes))) {
		if !validName(name) {
			return fmt.Errorf("%q is no name for a policy or size", name)
		}
	}
	for name, p := range c.Policies {
		for _, d := range slices.Concat(p.Allow, p.Deny) {
			if !d.Prefix.IsValid() || !d.Prefix.Addr().Is4() {
				return fmt.Errorf("policy %s: %s is not an IPv4 network", name, d.Prefix)
			}
		}
	}
	return nil
}

// policyChain is the chain of a policy, and the set of those that have it. A dyno may live whose policy the
// configuration has no more: it is closed outwards.
func (c Config) policyChain(name string) string {
	if name == "" {
		name = DefaultPolicy
	}
	return chainName("policy_", c.policyNames(), name, closedPolicy)
}

func (c Config) policyNames() []string { return slices.Sorted(maps.Keys(c.Policies)) }

// sizeChain is the set and chain of a size that limits connections, else empty.
func (c Config) sizeChain(name string) string { return chainName("size_", c.sizeNames(), name, "") }

// sizeNames are the sizes that limit connections.
func (c Config) sizeNames() []string {
	limited := maps.Collect(maps.All(c.Sizes))
	maps.DeleteFunc(limited, func(_ string, l Limits) bool { return l.Connections == 0 && l.Rate == 0 })
	return slices.Sorted(maps.Keys(limited))
}

// chainName numbers chains, because names of the configuration may hold what
// nft's own may not.
func chainName(prefix string, names []string, name, otherwise string) string {
	i, found := slices.BinarySearch(names, name)
	if !found {
		return otherwise
	}
	return fmt.Sprint(prefix, i)
}

// namedChain is a policy or size as table.nft shows it.
type namedChain[T any] struct {
	Chain, Name string
	Rules       T
}

func (c Config) policyChains() (all []namedChain[Policy]) {
	for _, name := range c.policyNames() {
		all = append(all, namedChain[Policy]{c.policyChain(name), name, c.Policies[name]})
	}
	return all
}

func (c Config) sizeChains() (all []namedChain[Limits]) {
	for _, name := range c.sizeNames() {
		all = append(all, namedChain[Limits]{c.sizeChain(name), name, c.Sizes[name]})
	}
	return all
}

// match is the destination as a rule of nft.
func (d Destination) String() string {
	match := "ip daddr " + d.Prefix.Masked().String()
	if d.Port != 0 {
		match += fmt.Sprintf(" meta l4proto { tcp, udp } th dport %d", d.Port)
	}
	return match
}
