package capture

import (
	"errors"
	"slices"

	"golang.org/x/sys/unix"
)

// Kept is a descriptor that the service manager kept while there was no capture, with the name it was given.
type Kept struct {
	Name string
	FD   int
}

// store is the service manager's fd store, spoken to by sd_notify(3): the read ends in it outlive this process. Without
// a service manager it does nothing.
type store struct {
	fd      int // datagram socket, -1 without a service manager
	manager unix.Sockaddr
	waiting []notice // not taken yet, in order
}

type notice struct {
	name string
	text string
	fd   int // -1: none
}

// newStore speaks to the service manager that listens on the socket; "" is none.
func newStore(socket string) (*store, error) {
	if socket == "" {
		return &store{fd: -1}, nil
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	return &store{fd: fd, manager: &unix.SockaddrUnix{Name: socket}}, err
}

// keep stores a read end. The manager is told not to watch it: the end of file is capture's to see.
func (s *store) keep(k key, fd int) {
	s.tell(notice{name: k.name(), text: "FDSTORE=1\nFDPOLL=0\nFDNAME=" + k.name(), fd: fd})
}

// remove forgets the read ends of a stream. Call it before the descriptor is closed.
func (s *store) remove(k key) {
	s.waiting = slices.DeleteFunc(s.waiting, func(n notice) bool { return n.name == k.name() && n.fd >= 0 })
	s.tell(notice{name: k.name(), text: "FDSTOREREMOVE=1\nFDNAME=" + k.name(), fd: -1})
}

func (s *store) tell(n notice) {
	if s.fd >= 0 {
		s.waiting = append(s.waiting, n)
		s.flush()
	}
}

// flush sends what waits, as far as the manager takes it now. A manager that is gone is not waited for.
func (s *store) flush() {
	for len(s.waiting) > 0 {
		n := s.waiting[0]
		var oob []byte
		if n.fd >= 0 {
			oob = unix.UnixRights(n.fd)
		}
		_, err := unix.SendmsgN(s.fd, []byte(n.text), oob, s.manager, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL)
		if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.ETOOMANYREFS) {
			return
		}
		s.waiting = s.waiting[1:]
	}
	s.waiting = nil
}

func (s *store) close() { closeAll([]int{s.fd}) }

// adopt reads again what the service manager kept. A pipe of an ended stream is at its end, which is then seen again.
func (s *server) adopt(kept []Kept) {
	for _, d := range kept {
		k, ok := parseKey(d.Name)
		if !ok || !isPipe(d.FD) || s.streams[k] != nil {
			s.log.Warn("the service manager kept what is no stream", "name", d.Name)
			_ = unix.Close(d.FD)
			continue
		}
		if err := s.add(k, d.FD); err != nil {
			s.log.Error("a kept pipe cannot be read", "name", d.Name, "error", err)
		}
	}
}
