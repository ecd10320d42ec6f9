// Package spool keeps the output of dynos as plain files, one directory a stream:
//
//	<spool>/<dyno id>/<stream>/<start>.seg   raw bytes; start is the stream position of the first one, 16 hex digits
//	<spool>/<dyno id>/<stream>/<start>.t     when those bytes arrived, see Mark
//	<spool>/<dyno id>/<stream>/<offset>.eof  empty: a life of the dyno ended at this position
//	<spool>/<dyno id>/<stream>/<end>.lost    what is known of the hole that ends at this position, see Lost
//	<spool>/<dyno id>/cursor                 how far each stream is delivered
//	<spool>/<dyno id>/cursor-<n>             how far one more receiver is, see Progress
//	<spool>/boot-<id>                        empty: the boot of the host in which the spool was last in use, see Begin
//
// The names carry the positions, so a hole between the end of one segment and the start of the next is the count of
// bytes that were dropped, and the position to write at is the end of what the names show: nothing else has to be kept
// consistent when a writer is killed. A life's end lies only between two segments, never inside one.
//
// A stream has one writer at a time and any number of readers, in other processes too. The package never cuts lines,
// never talks to anybody, and takes no file in the spool for more than bytes: what it cannot read is a hole. No link
// beneath the spool's root is followed. Linux 5.6 or later.
package spool

import (
	"path/filepath"
	"strconv"
	"strings"
)

// Stream names one of a dyno's streams of bytes.
type Stream uint8

// The streams of a dyno. Platform holds what the platform says about the dyno; the agent itself writes it.
const (
	Stdout   Stream = 1
	Stderr   Stream = 2
	Platform Stream = 3
)

// Streams are all streams of a dyno.
var Streams = [...]Stream{Stdout, Stderr, Platform}

// SegmentBytes is how large a segment grows in bytes, for a spool that is bound to this many bytes a dyno.
func SegmentBytes(bound int64) int64 { return min(4<<20, max(bound/16, 4096)) }

// maxOffset bounds the positions taken from file names, so that adding a size to one cannot overflow.
const maxOffset = 1 << 60

const (
	segmentSuffix = ".seg"
	marksSuffix   = ".t"
	endSuffix     = ".eof"
	lostSuffix    = ".lost"
)

// maxFile is more than a file of a stream ever holds. A larger one is not ours, whatever its name.
const maxFile = 64 << 20

// String is the name of the stream's directory.
func (s Stream) String() string {
	switch s {
	case Stdout:
		return "out"
	case Stderr:
		return "err"
	case Platform:
		return "platform"
	}
	return "stream" + strconv.Itoa(int(s))
}

// Dir is the directory of one stream; dyno is the directory of the dyno in the spool.
func Dir(dyno string, s Stream) string { return filepath.Join(dyno, s.String()) }

// ValidID tells whether id is a lower-case UUID, the only kind of name that is taken for a dyno's.
func ValidID(id string) bool {
	if len(id) != 36 {
		return false
	}
	for i := range len(id) {
		c := id[i]
		if dash := i == 8 || i == 13 || i == 18 || i == 23; dash != (c == '-') {
			return false
		}
		if c != '-' && !isHex(c) {
			return false
		}
	}
	return true
}

func isHex(c byte) bool { return '0' <= c && c <= '9' || 'a' <= c && c <= 'f' }

func fileName(offset int64, suffix string) string {
	s := strconv.FormatInt(offset, 16)
	return strings.Repeat("0", 16-len(s)) + s + suffix
}

// ParseName splits a file name of a stream's directory into its position and its suffix (".seg", ".t", ".eof" or
// ".lost"). Names that this package would not have given are refused.
func ParseName(name string) (offset int64, suffix string, ok bool) {
	if len(name) < 16 {
		return 0, "", false
	}
	for i := range 16 {
		if !isHex(name[i]) {
			return 0, "", false
		}
	}
	n, err := strconv.ParseUint(name[:16], 16, 64)
	if err != nil || n > maxOffset {
		return 0, "", false
	}
	switch suffix = name[16:]; suffix {
	case segmentSuffix, marksSuffix, endSuffix, lostSuffix:
		return int64(n), suffix, true
	}
	return 0, "", false
}
