package capture

// SendRaw lets the tests break the protocol.
func (c *Client) SendRaw(b []byte) error {
	_, err := c.conn.Write(b)
	return err
}

// For the tests of what outlives a capture.
var MakeHole = makeHole

// LoadHole finds a hole as the next capture does.
func LoadHole(path string) (*hole, error) { return loadHole(path, make([]byte, 3)) }

// Take discards from a pipe.
func (h *hole) Take(pipe int, limit int64) (n, lines int64, err error) {
	return h.take(pipe, limit, make([]byte, 3))
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
