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

// Tear says that a part of a stage is in it.
func (h *hole) Tear() { h.begin(h.From, true) }

// Remove gives it up.
func (h *hole) Remove() { h.remove() }

// End is the position after the hole.
func (h *hole) End() int64 { return h.end() }

// KeyName parses the name of a stream and gives it again.
func KeyName(name string) (string, bool) {
	k, ok := parseKey(name)
	return k.name(), ok
}

// Waiting is how many notices wait when a manager takes none while so many dynos begin and end.
func Waiting(dynos int, socket string, id func() string) (int, error) {
	s, err := newStore(socket)
	if err != nil {
		return 0, err
	}
	defer s.close()
	for range dynos {
		k := key{id(), spool.Stdout}
		s.keep(k, s.fd, s.fd)
		s.remove(k)
	}
	return len(s.waiting), nil
}

// Resume finds the place of a hole of so many bytes.
func (h *hole) Resume(size, tail, staged int64) bool {
	h.size = size
	return h.resume(tail, staged)
}

// NewStage makes a stage.
func NewStage() (int, error) { return newStage() }

// PayVisit stages what is in a pipe. The visit can be called off until it has the pipe's lock.
func PayVisit(fd, stage int) (pay func() int64, callOff func() bool) {
	v := &visit{fd: fd, stage: stage, limit: pipeBytes}
	return func() int64 { v.pay(); return v.moved }, v.callOff
}

// Dying tells whether a process has ended but for a thread that cannot.
func Dying(pid int) bool { return dying(pid) }
