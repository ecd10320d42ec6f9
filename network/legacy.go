package network

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// legacyTables are those of iptables-legacy that forwarded packets pass.
var legacyTables = []string{"mangle", "filter", "security"}

// Questions and structures of linux/netfilter_ipv4/ip_tables.h and x_tables.h.
const (
	getInfo    = 64 // IPT_SO_GET_INFO
	getEntries = 65 // IPT_SO_GET_ENTRIES

	tableName    = 32  // bytes of a name in both questions
	entriesHead  = 40  // of struct ipt_get_entries before the entries
	entryHead    = 112 // sizeof(struct ipt_entry)
	hookForward  = 2
	targetHead   = 32 // sizeof(struct xt_entry_target)
	invertIn     = 1  // IPT_INV_VIA_IN
	invertOut    = 2  // IPT_INV_VIA_OUT
	otherInverse = ^byte(invertIn | invertOut)
	flagGoto     = 2 // IPT_F_GOTO
)

// forwardChain is what iptables calls the chain of that hook.
const forwardChain = "FORWARD"

// tableInfo is struct ipt_getinfo.
type tableInfo struct {
	name             [tableName]byte
	hooks            uint32
	entry, underflow [5]uint32
	count, size      uint32
}

// legacyObstacles looks through the tables of iptables-legacy that somebody has
// used. To ask for another one would make it, and for any would have nothing to
// answer where the kernel's module is not loaded.
func (n *Network) legacyObstacles(packets []packet) (all []Obstacle, err error) {
	err = within(n.ns, func() error {
		used, err := os.ReadFile("/proc/thread-self/net/ip_tables_names")
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("list iptables-legacy tables: %w", err)
		}
		for _, table := range strings.Fields(string(used)) {
			if !slices.Contains(legacyTables, table) {
				continue
			}
			o, err := legacyObstacle(table, packets)
			if err != nil {
				return fmt.Errorf("read iptables-legacy table %s: %w", table, err)
			}
			if o != nil {
				all = append(all, *o)
			}
		}
		return nil
	})
	return all, err
}

func legacyObstacle(table string, packets []packet) (*Obstacle, error) {
	info, entries, err := readLegacy(table)
	if err != nil {
		return nil, err
	}
	read, err := parseLegacy(entries, info.entry[hookForward], info.underflow[hookForward])
	if err != nil {
		return nil, err
	}
	rules := read[forwardChain]
	policy := rules[len(rules)-1]
	read[forwardChain] = rules[:len(rules)-1]
	c := chains(func(name string) ([]rule, error) { return read[name], nil })
	return c.obstacle(forwardChain, "chain FORWARD of iptables-legacy table "+table, policy.outcome == drops, packets)
}

// readLegacy asks again when the table changed between the two questions.
func readLegacy(table string) (info tableInfo, entries []byte, err error) {
	sock, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0) // a raw one needs CAP_NET_RAW, which the unit lacks
	if err != nil {
		return info, nil, err
	}
	defer unix.Close(sock)
	for range 5 {
		copy(info.name[:], table)
		if err = getsockopt(sock, getInfo, unsafe.Pointer(&info), unsafe.Sizeof(info)); err != nil {
			return info, nil, err
		}
		answer := make([]byte, entriesHead+info.size)
		copy(answer, table)
		binary.NativeEndian.PutUint32(answer[tableName:], info.size)
		if err = getsockopt(sock, getEntries, unsafe.Pointer(&answer[0]), uintptr(len(answer))); !errors.Is(err, unix.EAGAIN) {
			return info, answer[entriesHead:], err
		}
	}
	return info, nil, err
}

func getsockopt(sock, question int, answer unsafe.Pointer, size uintptr) error {
	length := uint32(size)
	_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(sock), unix.IPPROTO_IP, uintptr(question), uintptr(answer), uintptr(unsafe.Pointer(&length)), 0)
	if errno != 0 {
		return errno
	}
	return nil
}

// parseLegacy sorts a table's entries into chains. Those of the hooks have no name
// in it; the only one that is wanted goes from forward to its policy, a rule too.
func parseLegacy(entries []byte, forward, policy uint32) (map[string][]rule, error) {
	read, begins := map[string][]rule{}, map[uint32]string{}
	var chain string
	for at := uint32(0); int(at) < len(entries); {
		e, target, err := entryAt(entries[at:])
		if err != nil {
			return nil, err
		}
		if at == forward {
			chain = forwardChain
		}
		next := at + uint32(len(e))
		if name, begin := userChain(e[target:]); begin {
			chain, begins[next] = name, name
		} else if chain != "" {
			read[chain] = append(read[chain], legacyRule(e, target))
		}
		if at == policy {
			chain = ""
		}
		at = next
	}
	if len(read[forwardChain]) == 0 {
		return nil, errors.New("chain FORWARD is missing")
	}
	return read, nameJumps(read, begins)
}

// entryAt is the first entry, and where in it the target lies.
func entryAt(b []byte) (e []byte, target int, err error) {
	if len(b) < entryHead {
		return nil, 0, errors.New("entry is cut off")
	}
	target, next := int(binary.NativeEndian.Uint16(b[88:])), int(binary.NativeEndian.Uint16(b[90:]))
	if target < entryHead || target+targetHead > next || next > len(b) {
		return nil, 0, errors.New("entry has no target")
	}
	return b[:next], target, nil
}

// nameJumps replaces the offsets that rules jump to by the chains that begin there.
func nameJumps(read map[string][]rule, begins map[uint32]string) error {
	for _, rules := range read {
		for i := range rules {
			if rules[i].chain == "" {
				continue
			}
			at, err := strconv.ParseUint(rules[i].chain, 10, 32)
			if err != nil {
				return err
			}
			rules[i].chain = begins[uint32(at)]
		}
	}
	return nil
}

// userChain reads the mark at the beginning of a chain.
func userChain(target []byte) (name string, ok bool) {
	if cString(target[2:targetHead-1]) != "ERROR" {
		return "", false
	}
	return cString(target[targetHead:]), true
}

func legacyRule(e []byte, target int) rule {
	flags, inverse := e[82], e[83]
	r := rule{
		in:  legacyMatch(e[16:32], e[48:64], inverse&invertIn != 0),
		out: legacyMatch(e[32:48], e[64:80], inverse&invertOut != 0),
		narrow: target > entryHead || inverse&otherInverse != 0 || flags&^flagGoto != 0 ||
			binary.NativeEndian.Uint16(e[80:]) != 0 || !zero(e[8:16]), // protocol, masks of addresses
	}
	r.outcome, r.chain = legacyVerdict(e[target:], flags&flagGoto != 0)
	return r
}

func legacyMatch(name, mask []byte, inverse bool) match {
	compared := bytes.TrimRight(mask, "\x00")
	if len(compared) == 0 {
		return match{}
	}
	begin, _, whole := bytes.Cut(name[:len(compared)], []byte{0})
	return match{name: string(begin), prefix: !whole, inverse: inverse}
}

// legacyVerdict reads a target. A standard one has no name, but a number: from 0 on
// the offset of the chain to jump to, below that a verdict.
func legacyVerdict(target []byte, leap bool) (outcome, string) {
	if name := cString(target[2 : targetHead-1]); name != "" {
		return xtVerdict(name), ""
	}
	if len(target) < targetHead+4 {
		return goesOn, ""
	}
	n := int32(binary.NativeEndian.Uint32(target[targetHead:]))
	switch {
	case n >= 0 && leap:
		return leaps, strconv.Itoa(int(n))
	case n >= 0:
		return jumps, strconv.Itoa(int(n))
	case n == -1:
		return drops, ""
	case n == -2:
		return accepts, ""
	case n == -5: // XT_RETURN
		return returns, ""
	}
	return goesOn, ""
}

func cString(b []byte) string {
	text, _, _ := bytes.Cut(b, []byte{0})
	return string(text)
}

func zero(b []byte) bool { return !slices.ContainsFunc(b, func(x byte) bool { return x != 0 }) }
