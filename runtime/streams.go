package runtime

import (
	"errors"
	"fmt"
	"os"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"

	"github.com/dynod/dynod/runtime/launch"
)

// kind is what the command's standard streams are.
func (a Attach) kind() launch.Stdio {
	if a.Terminal {
		return launch.Terminal
	}
	return launch.Pipes
}

// streams is both sides of a command's standard streams until the command runs.
type streams struct {
	kind   launch.Stdio
	theirs []*os.File // the command's stdin, stdout and stderr, if they are pipes
	ours   *Stdio     // nil as long as there is nothing to talk through
}

// newStreams makes the pipes that the kind needs, in which standard error may be apart. A terminal is dyno-init's to
// make, inside the dyno.
func newStreams(kind launch.Stdio, owner int, apart bool) (*streams, error) {
	s := &streams{kind: kind}
	if kind != launch.Pipes {
		return s, nil
	}
	err := s.makePipes(apart)
	if err == nil {
		err = errors.Join(give(owner, s.theirs...), block(s.theirs...))
	}
	if err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

func (s *streams) makePipes(apart bool) error {
	var in, out, errs [2]*os.File // read end, write end
	var err error
	if in[0], in[1], err = os.Pipe(); err == nil {
		out[0], out[1], err = os.Pipe()
	}
	errs[1] = out[1]
	if err == nil && apart {
		errs[0], errs[1], err = os.Pipe()
	}
	s.theirs = []*os.File{in[0], out[1], errs[1]}
	s.ours = &Stdio{Input: in[1], Output: out[0], Errors: errs[0]}
	if err != nil {
		return fmt.Errorf("make pipe: %w", err)
	}
	return nil
}

// receive takes the command's terminal, which comes with the word that it was started. That a terminal is lost with
// a connection is no error: what is on it hears that it was hung up.
func (s *streams) receive(m *launch.Message) error {
	if s.kind != launch.Terminal {
		return nil
	}
	fds, err := m.Take(1)
	if err != nil {
		return nil
	}
	if err := unix.SetNonblock(fds[0], true); err != nil {
		return errors.Join(fmt.Errorf("take terminal: %w", err), unix.Close(fds[0]))
	}
	terminal := os.NewFile(uintptr(fds[0]), "terminal")
	s.ours = &Stdio{Input: terminal, Output: terminal, Terminal: true}
	return nil
}

// take gives the caller's side away.
func (s *streams) take() *Stdio {
	ours := s.ours
	s.ours = nil
	return ours
}

// close closes what has not been given away. The command has its own copies of its side.
func (s *streams) close() {
	theirs, ours := s.theirs, s.ours
	_ = closeSoon(func() error {
		for _, f := range theirs {
			_ = f.Close() // of nil too, and twice: neither does anything
		}
		if ours != nil {
			_ = ours.close()
		}
		return nil
	})
}

// give makes pipes the dyno's, or a program that opens /dev/stdout again would be refused. Their group stays as it is:
// by it capture, which has no rights over other users' files, asks whether they are full.
func give(owner int, files ...*os.File) error {
	for _, f := range files {
		if f == nil {
			return fmt.Errorf("give pipe to the dyno: %w: one is missing", errdefs.ErrInvalidArgument)
		}
		if err := f.Chown(owner, -1); err != nil {
			return fmt.Errorf("give pipe to the dyno: %w", err)
		}
	}
	return nil
}

// block makes the command's ends of pipes block: a program does not expect a write to fail because a pipe is full.
func block(files ...*os.File) error {
	fds, err := descriptors(files...)
	for _, fd := range fds {
		err = errors.Join(err, unix.SetNonblock(fd, false))
	}
	return err
}

// descriptors are the numbers of files, valid as long as those are open. Fd would change how the caller's reads of
// its own ends work.
func descriptors(files ...*os.File) ([]int, error) {
	var fds []int
	for _, f := range files {
		raw, err := f.SyscallConn()
		if err != nil {
			return nil, fmt.Errorf("take pipe: %w", err)
		}
		if err := raw.Control(func(fd uintptr) { fds = append(fds, int(fd)) }); err != nil {
			return nil, fmt.Errorf("take pipe: %w", err)
		}
	}
	return fds, nil
}
