package slugs

import "io"

// So many pieces are read ahead of one another: one is filled, one is read, the others wait on the way.
const (
	pieces    = 4
	pieceSize = 256 << 10
)

// readAhead reads another reader in a goroutine of its own, some pieces ahead of whoever reads it.
type readAhead struct {
	empty, full chan []byte // with room for all pieces: who sends never waits
	piece, left []byte      // the one that is read, and what is left of it
	err         error       // why full was closed
}

func newReadAhead(from io.Reader) *readAhead {
	r := &readAhead{empty: make(chan []byte, pieces), full: make(chan []byte, pieces)}
	for range pieces {
		r.empty <- make([]byte, pieceSize)
	}
	go r.fill(from)
	return r
}

func (r *readAhead) fill(from io.Reader) {
	defer close(r.full)
	for piece := range r.empty {
		n := 0
		for n < len(piece) && r.err == nil {
			var more int
			more, r.err = from.Read(piece[n:])
			n += more
		}
		r.full <- piece[:n]
		if r.err != nil {
			return
		}
	}
}

func (r *readAhead) Read(p []byte) (int, error) {
	for len(r.left) == 0 {
		if r.piece != nil {
			r.empty <- r.piece[:pieceSize]
		}
		r.piece = <-r.full
		if r.left = r.piece; r.piece == nil {
			return 0, r.err
		}
	}
	n := copy(p, r.left)
	r.left = r.left[n:]
	return n, nil
}

// stop ends the reading. It is called once; nothing reads the other reader any more when it returns.
func (r *readAhead) stop() {
	close(r.empty)
	for range r.full { // what was read is not wanted any more
	}
}
