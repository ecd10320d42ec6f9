package network

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// wall closes the host to a dyno a second time: by a small table in the dyno's own
// namespace, which the dyno has no power over and a flush of the host's rules does
// not reach. It keeps no state, so it costs a packet next to nothing: to an
// address of the host go answers (TCP other than the first packet of a
// connection, ICMP) and what Config.HostPorts names. host are the host's
// addresses beside gateways.
func (s *namespace) wall(cfg Config, host []netip.Addr) (err error) {
	c, err := nftables.New(nftables.AsLasting(), nftables.WithNetNSFd(int(s.ns)))
	if err != nil {
		return fmt.Errorf("open namespace's firewall: %w", err)
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
	for _, rule := range [][]expr.Any{toKnown(known), toGateway(cfg)} {
		c.AddRule(&nftables.Rule{Table: table, Chain: out, Exprs: append(rule, &expr.Verdict{Kind: expr.VerdictGoto, Chain: closed.Name})})
	}
	if err := c.Flush(); err != nil {
		return fmt.Errorf("close host in namespace: %w", err)
	}
	return nil
}

// wallName tells walls apart that let different things through.
func wallName(ports []uint16, host []netip.Addr) string {
	sum := sha256.Sum256(fmt.Append(nil, ports, host))
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

// toGateway matches what goes to any dyno's gateway: the second address of each /30.
func toGateway(cfg Config) []expr.Any {
	return []expr.Any{
		loadDaddr,
		&expr.Range{Op: expr.CmpOpEq, Register: 1, FromData: cfg.first().AsSlice(), ToData: cfg.last().AsSlice()},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: []byte{0, 0, 0, perSlot - 1}, Xor: make([]byte, 4)},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{0, 0, 0, 1}},
	}
}

// closedRules let through what may go to the host, and then nothing.
func closedRules(ports []uint16) (all [][]expr.Any) {
	const syn, ack = 0x02, 0x10
	accept := &expr.Verdict{Kind: expr.VerdictAccept}
	for _, port := range ports {
		all = append(all, append(transport(2, 2), &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: binaryutil.BigEndian.PutUint16(port)}, accept))
	}
	answer := append(protocol(unix.IPPROTO_TCP), transport(13, 1)...)
	answer = append(answer,
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 1, Mask: []byte{syn | ack}, Xor: []byte{0}},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: []byte{syn}}, accept)
	return append(all, answer, append(protocol(unix.IPPROTO_ICMP), accept), []expr.Any{&expr.Verdict{Kind: expr.VerdictDrop}})
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
