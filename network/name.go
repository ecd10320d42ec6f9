package network

import "strings"

const (
	lowers = "abcdefghijklmnopqrstuvwxyz0123456789"
	alnum  = lowers + "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
	// nameBytes is what a name has at most, in bytes.
	nameBytes = 63
)

// validID says whether an id can be a file name, part of a link alias and a comment
// of a firewall element.
func validID(id string) bool { return formed(id, lowers, lowers+"-") }

// validName says the same of the name of a policy or size.
func validName(name string) bool { return formed(name, alnum, alnum+"._-") }

// formed says whether s begins with one of first and has only characters of all. It
// is on the way of every start, where regular expressions were a tenth of the time that
// a network made ahead takes.
func formed(s, first, all string) bool {
	return s != "" && len(s) <= nameBytes && strings.IndexByte(first, s[0]) >= 0 && strings.Trim(s, all) == ""
}
