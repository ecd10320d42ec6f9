package network

import (
	"crypto/sha256"
	"encoding/hex"
	"strconv"
	"strings"
)

// aliasMark begins the alias of every link of ours.
const aliasMark = "dynod:"

// owner is what the alias of a host's end says: whose it is, and all that the
// firewall has to know, so that it can be made anew from the links alone. A link
// of ours without an owner is half-made, or on its way out with its namespace:
// nobody's.
type owner struct {
	id     string
	port   uint16 // the dyno's $PORT
	policy string
	size   string
	space  string // digest of the private space's name; empty: none
}

func (r Request) owner() owner {
	return owner{r.ID, r.Port, r.Policy, r.Size, spaceDigest(r.Space)}
}

// spaceDigest makes any name short enough for an alias, and two different ones
// never the same.
func spaceDigest(name string) string {
	if name == "" {
		return ""
	}
	sum := sha256.Sum256([]byte(name))
	return hex.EncodeToString(sum[:16])
}

// same says whether both are the same dyno with the same port, which is all that
// may not change during its life.
func (o owner) same(other owner) bool { return o.id == other.id && o.port == other.port }

// alike says whether both are the same but for the dyno.
func (o owner) alike(other owner) bool {
	o.id = other.id
	return o == other
}

func (o owner) alias() string {
	return aliasMark + strings.Join([]string{o.id, strconv.Itoa(int(o.port)), o.policy, o.size, o.space}, ":")
}

// parseAlias also reads the shorter aliases of earlier versions.
func parseAlias(alias string) (o owner, ok bool) {
	rest, marked := strings.CutPrefix(alias, aliasMark)
	part := append(strings.Split(rest, ":"), "", "", "", "")
	port, err := strconv.ParseUint(part[1], 10, 16)
	_, spare := spareSlot(part[0])
	if !marked || err != nil || port == 0 || !spare && !validID(part[0]) {
		return owner{}, false
	}
	return owner{part[0], uint16(port), part[2], part[3], part[4]}, true
}

// spareID stands in for the id of a dyno until somebody takes a network that was
// made ahead. No dyno can have it.
func spareID(slot int) string { return "+" + strconv.Itoa(slot) }

func spareSlot(id string) (int, bool) {
	digits, ok := strings.CutPrefix(id, "+")
	slot, err := strconv.Atoi(digits)
	return slot, ok && err == nil && spareID(slot) == id
}
