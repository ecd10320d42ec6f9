package capture

import (
	"encoding/binary"
	"fmt"

	"github.com/containerd/errdefs"

	"github.com/dynod/dynod/logs/spool"
)

// Kind tells what a Message asks or says.
type Kind uint8

// Requests name a dyno in ID; each is answered by one Reply with the same Seq. Changes are told unasked, to the
// connected client only.
const (
	Open    Kind = 1 // make pipes; reply: write ends, then read ends, then stages, of out and err
	Restore Kind = 2 // read these pipes (of Mask, each with its stage, if any) again, unless they are read; reply: nothing
	Attach  Kind = 3 // reply: Mask, and read end and stage of each of its streams
	List    Kind = 4 // reply: the streams that are read, of dynos after ID, at most maxEntries
	Forget  Kind = 5 // stop reading the dyno, what is in its pipes is dropped; reply: nothing
	Reply   Kind = 6
	Changes Kind = 7 // Entries that are not what they were when told last
)

// Code says why a request was refused.
type Code uint8

// The codes have the classes of errdefs.
const (
	OK          Code = 0
	Invalid     Code = 1
	Unavailable Code = 2
	Internal    Code = 3
)

// Mask is a set of streams; only out and err are read here.
type Mask uint8

// Has tells whether s is in the set.
func (m Mask) Has(s spool.Stream) bool { return m&(1<<s) != 0 }

// With is the set with s.
func (m Mask) With(s spool.Stream) Mask { return m | 1<<s }

// captured are the streams that come through pipes.
var captured = [...]spool.Stream{spool.Stdout, spool.Stderr}

const allMask = Mask(1<<spool.Stdout | 1<<spool.Stderr)

// Entry is the state of one stream.
type Entry struct {
	ID     string
	Stream spool.Stream
	End    int64 // position after its last byte
	Live   bool  // its pipe is being read: not at end of file yet
}

// Message is what one packet on the socket holds; descriptors travel beside it.
type Message struct {
	Kind    Kind
	Seq     uint32
	Code    Code
	Mask    Mask
	ID      string // of a dyno, or empty
	Text    string // of an error, for people
	Entries []Entry
}

const (
	idSize     = 36
	headSize   = 1 + 4 + 1 + 1 + 1 + 2 + 2
	entrySize  = idSize + 1 + 8 + 1
	maxText    = 1024
	maxEntries = 1000
	maxMessage = headSize + idSize + maxText + maxEntries*entrySize
	maxFiles   = 6 // descriptors beside one message
)

// Append encodes m, little-endian: kind, seq, code, mask, length of the id, length of the text, number of entries,
// then those three.
func (m Message) Append(b []byte) []byte {
	text := m.Text[:min(len(m.Text), maxText)]
	b = append(b, byte(m.Kind))
	b = binary.LittleEndian.AppendUint32(b, m.Seq)
	b = append(b, byte(m.Code), byte(m.Mask), byte(len(m.ID)))
	b = binary.LittleEndian.AppendUint16(b, uint16(len(text)))
	b = binary.LittleEndian.AppendUint16(b, uint16(len(m.Entries)))
	b = append(b, m.ID...)
	b = append(b, text...)
	for _, e := range m.Entries {
		b = append(b, e.ID...)
		b = append(b, byte(e.Stream))
		b = binary.LittleEndian.AppendUint64(b, uint64(e.End))
		b = append(b, flag(e.Live))
	}
	return b
}

func flag(set bool) byte {
	if set {
		return 1
	}
	return 0
}

// Parse decodes one packet. Every field is checked; an error is errdefs.ErrInvalidArgument.
func Parse(b []byte) (Message, error) {
	if len(b) < headSize || len(b) > maxMessage {
		return Message{}, invalid("length")
	}
	m := Message{
		Kind: Kind(b[0]), Seq: binary.LittleEndian.Uint32(b[1:]),
		Code: Code(b[5]), Mask: Mask(b[6]),
	}
	id, text, entries := int(b[7]), int(binary.LittleEndian.Uint16(b[8:])), int(binary.LittleEndian.Uint16(b[10:]))
	b = b[headSize:]
	switch {
	case m.Kind < Open || m.Kind > Changes:
		return Message{}, invalid("kind")
	case m.Mask&^allMask != 0:
		return Message{}, invalid("streams")
	case id != 0 && id != idSize || text > maxText || entries > maxEntries || len(b) != id+text+entries*entrySize:
		return Message{}, invalid("length")
	}
	m.ID, b = string(b[:id]), b[id:]
	m.Text, b = string(b[:text]), b[text:]
	if m.ID != "" && !spool.ValidID(m.ID) {
		return Message{}, invalid("id")
	}
	return m, m.parseEntries(b)
}

func (m *Message) parseEntries(b []byte) error {
	for ; len(b) > 0; b = b[entrySize:] {
		e := Entry{
			ID: string(b[:idSize]), Stream: spool.Stream(b[idSize]),
			End: int64(binary.LittleEndian.Uint64(b[idSize+1:])), Live: b[entrySize-1] == 1,
		}
		captured := e.Stream == spool.Stdout || e.Stream == spool.Stderr
		if !spool.ValidID(e.ID) || !captured || e.End < 0 || b[entrySize-1] > 1 {
			return invalid("entry")
		}
		m.Entries = append(m.Entries, e)
	}
	return nil
}

func invalid(field string) error {
	return fmt.Errorf("parse message: bad %s: %w", field, errdefs.ErrInvalidArgument)
}

// err is the error that a reply carries.
func (m Message) err() error {
	switch m.Code {
	case OK:
		return nil
	case Invalid:
		return fmt.Errorf("capture: %s: %w", m.Text, errdefs.ErrInvalidArgument)
	case Unavailable:
		return fmt.Errorf("capture: %s: %w", m.Text, errdefs.ErrUnavailable)
	default:
		return fmt.Errorf("capture: %s: %w", m.Text, errdefs.ErrInternal)
	}
}
