package network

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// wall closes the host to a dyno a second time: by a small table in the dyno's own
// namespace, which the dyno has no power over and a flush of the host's rules does
// not reach. It keeps no state, and its first rule is for nearly every packet, so it
// costs next to nothing: to whatever the host listens to go answers (TCP other than
// the first packet of a connection, ICMP) and what Config.HostPorts names. host are
// the addresses that the host listens to beside those of dynos' links.
func (s *namespace) wall(cfg Config, host []netip.Addr) (err error) {
	c, err := openFirewall(s.ns)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.CloseLasting()) }()
	name := wallName(cfg.HostPorts, host)
	if !s.fresh {
		if stands, err := clearWalls(c, name); stands || err != nil {
			return err
		}
	}
	table := c.AddTable(&nftables.Table{Name: name, Family: nftables.TableFamilyIPv4})
	closed := c.AddChain(&nftables.Chain{Name: "closed", Table: table})
	for _, rule := range closedRules(cfg.HostPorts) {
		c.AddRule(&nftables.Rule{Table: table, Chain: closed, Exprs: rule})
	}
	known := &nftables.Set{Table: table, Name: "host", ID: 1, KeyType: nftables.TypeIPAddr} // an ID, or the library counts them without a lock
	if err := c.AddSet(known, keys(host)); err != nil {
		return fmt.Errorf("list host's addresses: %w", err)
	}
	out := c.AddChain(&nftables.Chain{
		Name: "out", Table: table, Type: nftables.ChainTypeFilter, Hooknum: nftables.ChainHookOutput, Priority: nftables.ChainPriorityFilter,
	})
	c.AddRule(&nftables.Rule{Table: table, Chain: out, Exprs: append(tcpGoesOn(), accept)})
	for _, rule := range [][]expr.Any{toKnown(known), toLinks(cfg), toAll()} {
		c.AddRule(&nftables.Rule{Table: table, Chain: out, Exprs: append(rule, &expr.Verdict{Kind: expr.VerdictGoto, Chain: closed.Name})})
	}
	if err := c.Flush(); err != nil {
		return fmt.Errorf("close host in namespace: %w", err)
	}
	return nil
}

// wallForm changes with the rules.
const wallForm = 2

// wallName tells walls apart that let different things through.
func wallName(ports []uint16, host []netip.Addr) string {
	sum := sha256.Sum256(fmt.Append(nil, wallForm, ports, host))
	return "dynod_" + hex.EncodeToString(sum[:8])
}

// clearWalls says whether the wall of this name stands, and removes every other one.
func clearWalls(c *nftables.Conn, name string) (stands bool, err error) {
	tables, err := c.ListTablesOfFamily(nftables.TableFamilyIPv4)
	if err != nil {
		return false, fmt.Errorf("list namespace's firewall: %w", err)
	}
	for _, t := range tables {
		if t.Name == name {
			return true, nil
		}
		c.DelTable(t)
	}
	return false, nil
}

func keys(addrs []netip.Addr) (all []nftables.SetElement) {
	for _, a := range addrs {
		all = append(all, nftables.SetElement{Key: a.AsSlice()})
	}
	return all
}

// loadDaddr takes the destination of an IPv4 packet.
var loadDaddr = &expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: 16, Len: 4}

// toKnown matches what goes to an address in a set.
func toKnown(known *nftables.Set) []expr.Any {
	return []expr.Any{loadDaddr, &expr.Lookup{SourceRegister: 1, SetName: known.Name, SetID: known.ID}}
}

// toLinks matches what goes to the host's end of any dyno's link, or to both ends:
// all addresses of the /30 but the dyno's own.
func toLinks(cfg Config) []expr.Any {
	return []expr.Any{
		loadDaddr,
		&expr.Range{Op: expr.CmpOpEq, Register: 1, FromData: cfg.first().AsSlice(), ToData: cfg.last().AsSlice()},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: []byte{0, 0, 0, perSlot - 1}, Xor: make([]byte, 4)},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: []byte{0, 0, 0, 2}},
	}
}

// toAll matches what goes to groups (224.0.0.0/4) and to everybody.
func toAll() []expr.Any {
	return []expr.Any{loadDaddr, &expr.Cmp{Op: expr.CmpOpGte, Register: 1, Data: []byte{224, 0, 0, 0}}}
}

var accept = &expr.Verdict{Kind: expr.VerdictAccept}

// closedRules let through what may go to the host, and then nothing.
func closedRules(ports []uint16) (all [][]expr.Any) {
	for _, port := range ports {
		all = append(all, append(transport(2, 2), &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: binaryutil.BigEndian.PutUint16(port)}, accept))
	}
	return append(all, append(protocol(unix.IPPROTO_ICMP), accept), []expr.Any{&expr.Verdict{Kind: expr.VerdictDrop}})
}

// tcpGoesOn matches TCP other than the first packet of a connection.
func tcpGoesOn() []expr.Any {
	const syn, ack = 0x02, 0x10
	return slices.Concat(protocol(unix.IPPROTO_TCP), transport(13, 1), []expr.Any{
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 1, Mask: []byte{syn | ack}, Xor: []byte{0}},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: []byte{syn}},
	})
}

func protocol(number byte) []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{number}},
	}
}

// transport takes bytes of the header of TCP or UDP.
func transport(offset, length uint32) []expr.Any {
	return []expr.Any{&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: offset, Len: length}}
}
