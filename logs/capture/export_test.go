package capture

import "github.com/dynod/dynod/logs/spool"

// SendRaw lets the tests break the protocol.
func (c *Client) SendRaw(b []byte) error {
	_, err := c.conn.Write(b)
	return err
}

// MakeHole begins a hole whose file is at path.
func MakeHole(path string, l spool.Lost) (*hole, error) { return makeHole(path, l) }

// LoadHole finds a hole as the next capture does.
func LoadHole(path string) (*hole, error) { return loadHole(path, make([]byte, 3)) }

// Take discards from a pipe.
func (h *hole) Take(pipe int, limit int64) (int64, error) {
	return h.take(pipe, limit, -1, make([]byte, 3))
}

// Remove gives it up.
func (h *hole) Remove() { h.remove() }

// End is the position after the hole.
func (h *hole) End() int64 { return h.end() }

// KeyName parses the name of a stream and gives it again.
func KeyName(name string) (string, bool) {
	k, ok := parseKey(name)
	return k.name(), ok
}
