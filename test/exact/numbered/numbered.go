// Package numbered is what the generator of the exactness test says: lines that follow from a seed alone. Whoever knows
// the seed can tell for every byte of the stream what it must be; nobody needs to keep the stream.
package numbered

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"hash"
	"hash/crc32"
	"math/rand/v2"
	"strconv"
)

// MaxLine is the longest line in bytes, but for its number and sum: twice what the platform leaves in one piece.
const MaxLine = 20_000

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Count is what was said of a stream.
type Count struct {
	Lines int64  `json:"lines"` // newlines
	Bytes int64  `json:"bytes"`
	Sum   string `json:"sum"` // SHA256 of the bytes
}

// Stream gives the lines one after another.
type Stream struct {
	random *rand.ChaCha8
	lines  int64
	crc    uint32 // of all bytes so far
	sum    hash.Hash
	count  Count
}

// New is the stream of a seed, from its beginning.
func New(seed uint64) *Stream {
	var key [32]byte
	binary.LittleEndian.PutUint64(key[:], seed)
	return &Stream{random: rand.NewChaCha8(key), sum: sha256.New()}
}

// Next appends the next line and its newline to b: its number, the sum of all bytes before it, and random bytes of all
// values but newline. Most lines are short, some are long enough to be cut.
func (s *Stream) Next(b []byte) []byte {
	begin := len(b)
	s.lines++
	b = strconv.AppendInt(b, s.lines, 10)
	b = append(b, ' ')
	b = strconv.AppendUint(b, uint64(s.crc), 16)
	b = append(b, ' ')
	random := len(b)
	b = append(b, make([]byte, s.length())...)
	_, _ = s.random.Read(b[random:])
	for at := b[random:]; ; {
		i := bytes.IndexByte(at, '\n')
		if i < 0 {
			break
		}
		at[i] = '\r'
	}
	b = append(b, '\n')
	s.crc = crc32.Update(s.crc, castagnoli, b[begin:])
	return b
}

func (s *Stream) length() uint64 {
	n := s.random.Uint64()
	switch kind := n >> 32 % 1000; {
	case kind < 900:
		return n & 0xffffffff % 150
	case kind < 990:
		return n & 0xffffffff % 1000
	}
	return n & 0xffffffff % MaxLine
}

// Said counts bytes as said.
func (s *Stream) Said(b []byte) {
	s.count.Lines += int64(bytes.Count(b, []byte{'\n'}))
	s.count.Bytes += int64(len(b))
	_, _ = s.sum.Write(b)
}

// Count is what was said so far.
func (s *Stream) Count() Count {
	c := s.count
	c.Sum = hex.EncodeToString(s.sum.Sum(nil))
	return c
}

// Reader gives the bytes of a stream as they were said.
type Reader struct {
	*Stream
	line, rest []byte
}

// NewReader begins at the beginning.
func NewReader(seed uint64) *Reader { return &Reader{Stream: New(seed)} }

// Take gives the next bytes, at most n. They are counted, and hold until the next call.
func (r *Reader) Take(n int64) []byte {
	if len(r.rest) == 0 {
		r.line = r.Next(r.line[:0])
		r.rest = r.line
	}
	n = min(n, int64(len(r.rest)))
	taken := r.rest[:n]
	r.rest = r.rest[n:]
	r.Said(taken)
	return taken
}

// Match takes as many bytes as there are in b and tells how many of them are the same, from the first one on.
func (r *Reader) Match(b []byte) int64 {
	same, whole := int64(0), true
	for len(b) > 0 {
		want := r.Take(int64(len(b)))
		if whole {
			n := alike(want, b)
			whole = n == len(want)
			same += int64(n)
		}
		b = b[len(want):]
	}
	return same
}

// alike is how many bytes a and b have in common at their beginning; b is not the shorter one.
func alike(a, b []byte) int {
	if bytes.Equal(a, b[:len(a)]) {
		return len(a)
	}
	n := 0
	for a[n] == b[n] {
		n++
	}
	return n
}

// Skip takes n bytes and tells how many newlines are among them.
func (r *Reader) Skip(n int64) (lines int64) {
	before := r.count.Lines
	for n > 0 {
		n -= int64(len(r.Take(n)))
	}
	return r.count.Lines - before
}
