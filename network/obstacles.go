package network

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
)

// Obstacle is a chain of somebody else's firewall that drops what dynos send or
// what is sent to them. A drop is final, whatever our own table says.
type Obstacle struct {
	Where string // the chain, as its firewall names it
	Why   string // its policy, or which of its rules
	Hint  string // what to do
}

// What says what it does, without the hint.
func (o Obstacle) What() string { return o.Where + " drops packets of dynos by " + o.Why }

func (o Obstacle) String() string { return o.What() + ": " + o.Hint }

// obstacles are what Warnings says of them.
func (n *Network) obstacles() (all []string, err error) {
	found, err := n.findObstacles()
	for _, o := range found {
		all = append(all, o.String())
	}
	return all, err
}

// findObstacles asks both of the kernel's firewalls.
func (n *Network) findObstacles() ([]Obstacle, error) {
	p, err := n.packets()
	if err != nil {
		return nil, err
	}
	all, err := n.nftObstacles(p)
	legacy, legacyErr := n.legacyObstacles(p)
	return append(all, legacy...), errors.Join(err, legacyErr)
}

// outcome is what a rule does with a packet that it is for.
type outcome int

const (
	goesOn outcome = iota
	accepts
	drops
	returns
	jumps
	leaps // as jumps, without a way back
)

// rule is what of a rule matters here.
type rule struct {
	in, out match
	narrow  bool // it looks at more than links
	outcome outcome
	chain   string // that it jumps or leaps to
}

// match is for the links of one name, or of all that begin with it. The zero match
// is for every link.
type match struct {
	name    string
	prefix  bool
	inverse bool
}

// linkPrefix begins the names of the host's ends of dynos' links.
const linkPrefix = "dy"

// packet has the links that it may come by and leave by.
type packet struct{ in, out []string }

// packets are one that a dyno sends to the outside, and one that is sent to it.
func (n *Network) packets() ([]packet, error) {
	links, err := dump(n.host.LinkList)
	if err != nil {
		return nil, fmt.Errorf("list links: %w", err)
	}
	var outside []string
	for _, l := range links {
		if a := l.Attrs(); a.Group != linkGroup && a.Flags&net.FlagLoopback == 0 {
			outside = append(outside, a.Name)
		}
	}
	dyno := []string{linkName(0)}
	return []packet{{in: dyno, out: outside}, {in: outside, out: dyno}}, nil
}

// suits says whether a match is for a packet with one of these links. A rule that
// accepts is believed to be for the one that counts; others have to be for all.
func (m match) suits(links []string, o outcome) bool {
	suits := func(link string) bool {
		return (m.name == link || m.prefix && strings.HasPrefix(link, m.name)) != m.inverse
	}
	switch {
	case m == match{}:
		return true
	case o == accepts:
		return slices.ContainsFunc(links, suits)
	}
	return len(links) > 0 && !slices.ContainsFunc(links, func(l string) bool { return !suits(l) })
}

func (r rule) suits(p packet) bool {
	return !r.narrow && r.in.suits(p.in, r.outcome) && r.out.suits(p.out, r.outcome)
}

// chains gives the rules of a chain by its name.
type chains func(name string) ([]rule, error)

// longest is how far packets are followed from chain to chain, as the kernel does.
const longest = 16

// walk follows a packet through a chain, and says by which rule it ends.
func (c chains) walk(name string, p packet, depth int) (outcome, string, error) {
	if depth > longest {
		return goesOn, "", nil
	}
	rules, err := c(name)
	if err != nil {
		return goesOn, "", err
	}
	for i, r := range rules {
		if !r.suits(p) {
			continue
		}
		v, why := r.outcome, fmt.Sprintf("rule %d of chain %s", i+1, name)
		if v == jumps || v == leaps {
			v, why, err = c.walk(r.chain, p, depth+1)
			if err != nil || r.outcome == leaps && v == goesOn {
				return goesOn, "", err
			}
		}
		switch v {
		case accepts, drops:
			return v, why, nil
		case returns:
			return goesOn, "", nil
		}
	}
	return goesOn, "", nil
}

// obstacle says why a chain, whose policy may be to drop, stops packets of dynos;
// nil if it does not.
func (c chains) obstacle(name, where string, policyDrops bool, packets []packet) (*Obstacle, error) {
	for _, p := range packets {
		end, why, err := c.walk(name, p, 0)
		if err != nil {
			return nil, err
		}
		if end == drops || end == goesOn && policyDrops {
			return &Obstacle{Where: where, Why: cmp.Or(why, "its policy"), Hint: c.hint()}, nil
		}
	}
	return nil, nil
}

// keepers are those who make the usual firewalls, by a chain of theirs.
var keepers = []struct{ chain, hint string }{
	{"DOCKER-USER", "Docker keeps it, and leaves chain DOCKER-USER to you: accept there what comes from links dy+ and what goes to them"},
	{"ufw-before-forward", "ufw keeps it: accept in ufw-before-forward (/etc/ufw/before.rules) what comes from links dy+ and what goes to them"},
	{"filter_FORWARD", "firewalld keeps it: have it accept what comes from links dy* and what goes to them"},
}

func (c chains) hint() string {
	for _, k := range keepers {
		if rules, err := c(k.chain); err == nil && len(rules) > 0 {
			return k.hint
		}
	}
	return "dynos reach the outside, and it them, only if a rule there accepts what comes from and goes to links dy*"
}
