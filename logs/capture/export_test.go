package capture

// SendRaw lets the tests break the protocol.
func (c *Client) SendRaw(b []byte) error {
	_, err := c.conn.Write(b)
	return err
}
