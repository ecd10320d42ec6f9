package capture

import (
	"errors"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Kept is a descriptor that the service manager kept while there was no capture, with the name it was given.
type Kept struct {
	Name string
	FD   int
}

// store is the service manager's fd store, spoken to by sd_notify(3): what is in it outlives this process. Without
// a service manager it does nothing.
type store struct {
	fd      int // datagram socket, -1 without a service manager
	manager unix.Sockaddr
	waiting []notice       // not taken yet, in order
	kept    map[string]int // descriptors that the manager has, by name
}

// leaving is, in the place of a descriptor, that it is to be given up.
const leaving = -1

// notice is what the manager is told of a name.
type notice struct {
	name string
	fd   int
}

// newStore speaks to the service manager that listens on the socket; "" is none.
func newStore(socket string) (*store, error) {
	s := &store{fd: -1, manager: &unix.SockaddrUnix{Name: socket}, kept: map[string]int{}}
	if socket == "" {
		return s, nil
	}
	var err error
	s.fd, err = unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	return s, err
}

// keep stores a stream's read end and stage, in place of others.
func (s *store) keep(k key, fd, stage int) {
	for name, fd := range map[string]int{k.name(): fd, k.name() + stageMark: stage} {
		if has, ok := s.kept[name]; !ok || has != fd {
			s.forget(name)
			s.waiting = append(s.waiting, notice{name, fd})
		}
	}
	s.flush()
}

// remove forgets the descriptors of a stream. Call it before they are closed.
func (s *store) remove(k key) {
	s.forget(k.name())
	s.forget(k.name() + stageMark)
	s.flush()
}

// forget tells the manager to give up what it has under a name. What it has not taken yet it is not told at all: so what
// waits is bounded by what is open and what the manager has.
func (s *store) forget(name string) {
	s.waiting = slices.DeleteFunc(s.waiting, func(n notice) bool { return n.name == name && n.fd >= 0 })
	if has, ok := s.kept[name]; ok && has != leaving {
		s.kept[name] = leaving
		s.waiting = append(s.waiting, notice{name, leaving})
	}
}

// flush sends what waits, as far as the manager takes it now. A manager that is gone is not waited for.
func (s *store) flush() {
	if s.fd < 0 {
		s.waiting = nil
	}
	for len(s.waiting) > 0 {
		n := s.waiting[0]
		err := s.send(n)
		if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.ETOOMANYREFS) {
			return
		}
		if s.kept[n.name] = n.fd; n.fd == leaving {
			delete(s.kept, n.name)
		}
		s.waiting = s.waiting[1:]
	}
	s.waiting = nil
}

// send says one thing. The manager is told not to watch a descriptor: the end of file is capture's to see.
func (s *store) send(n notice) error {
	text, oob := "FDSTOREREMOVE=1\nFDNAME="+n.name, []byte(nil)
	if n.fd >= 0 {
		text, oob = "FDSTORE=1\nFDPOLL=0\nFDNAME="+n.name, unix.UnixRights(n.fd)
	}
	_, err := unix.SendmsgN(s.fd, []byte(text), oob, s.manager, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL)
	return err
}

func (s *store) close() { closeAll([]int{s.fd}) }

// adopt reads again what the service manager kept. A pipe of an ended stream is at its end, which is then seen again. A
// stage that comes without a pipe is written.
func (s *server) adopt(kept []Kept) {
	pipes, stages := map[key]int{}, map[key]int{}
	for _, d := range kept {
		name, staged := strings.CutSuffix(d.Name, stageMark)
		k, ok := parseKey(name)
		switch {
		case ok && staged && isStage(d.FD):
			stages[k] = d.FD
		case ok && !staged && isPipe(d.FD):
			pipes[k] = d.FD
		default:
			s.log.Warn("the service manager kept what is no stream", "name", d.Name)
			_ = unix.Close(d.FD)
			continue
		}
		s.store.kept[d.Name] = d.FD
	}
	for k, fd := range pipes {
		stage, ok := stages[k]
		if !ok {
			stage = -1
		}
		delete(stages, k)
		s.readopt(k, fd, stage)
	}
	for k, stage := range stages {
		s.readopt(k, -1, stage)
	}
}

func (s *server) readopt(k key, fd, stage int) {
	p, err := s.add(k, fd, stage)
	if err != nil {
		s.log.Error("a kept pipe cannot be read", "dyno", k.id, "stream", k.stream.String(), "error", err)
	} else if fd >= 0 {
		s.store.keep(k, p.fd, p.stage)
	}
}
