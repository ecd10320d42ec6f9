package launch

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// Kind says what a frame is.
type Kind byte

// The kinds. Waiting, Started, Failed and Exit come from init, the others from the agent.
const (
	Waiting Kind = 'W' // init has no plan
	Started Kind = 'S' // the command runs, or ran; its terminal comes along if it has one
	Failed  Kind = 'F' // the command could not be started; the payload is the reason
	Exit    Kind = 'X' // an executed command has ended; the payload is its status
	Plans   Kind = 'P' // the payload is a plan
	Ack     Kind = 'A' // the state was heard
	Exec    Kind = 'E' // the payload is the plan of one more command
	Signal  Kind = 'K' // the payload is a signal for the executed command
)

const (
	// HeaderSize is the length of what precedes a payload: its length as 32 bits, little-endian, and the kind.
	HeaderSize = 5
	// MaxState bounds the payload of every frame but a plan, in bytes.
	MaxState = 4 << 10
	// MaxPlan bounds the payload of a plan, in bytes. The kernel accepts about 2 MiB of arguments and
	// environment by default, and never more than three quarters of 8 MiB.
	MaxPlan = 8 << 20
)

// ErrFrame is what every malformed frame or plan wraps.
var ErrFrame = errors.New("malformed launch frame")

// Frame encodes one frame.
func Frame(kind Kind, payload []byte) []byte {
	frame := make([]byte, HeaderSize, HeaderSize+len(payload))
	binary.LittleEndian.PutUint32(frame, uint32(len(payload)))
	frame[4] = byte(kind)
	return append(frame, payload...)
}

// Read takes one frame from r. It refuses kinds that it does not know and payloads that are not of their kind's
// length before it takes memory for them.
func Read(r io.Reader) (Kind, []byte, error) {
	var header [HeaderSize]byte
	if _, err := io.ReadFull(r, header[:]); err != nil {
		return 0, nil, fmt.Errorf("read header: %w", err)
	}
	kind, size := Kind(header[4]), binary.LittleEndian.Uint32(header[:4])
	if err := check(kind, size); err != nil {
		return 0, nil, err
	}
	payload := make([]byte, size)
	if _, err := io.ReadFull(r, payload); err != nil {
		return 0, nil, fmt.Errorf("read payload: %w", err)
	}
	return kind, payload, nil
}

func check(kind Kind, size uint32) error {
	least, most := uint32(0), uint32(MaxState)
	switch kind {
	case Plans, Exec:
		most = MaxPlan
	case Exit, Signal:
		least, most = 1, 1 // a status, as the kernel keeps it, and a signal's number are a byte
	case Waiting, Started, Failed, Ack:
	default:
		return fmt.Errorf("%w: kind %#x", ErrFrame, byte(kind))
	}
	if size < least || size > most {
		return fmt.Errorf("%w: %d bytes of kind %q", ErrFrame, size, byte(kind))
	}
	return nil
}
