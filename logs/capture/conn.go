package capture

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"
)

// What a client is told who may ask again.
var (
	errLate = fmt.Errorf("the spool's disk is late: %w", errdefs.ErrUnavailable)
	errHeld = fmt.Errorf("a process of the dyno holds its pipe: %w", errdefs.ErrUnavailable)
)

// accept takes a new agent in place of the one before: the agent sees to it that it is alone, so the older connection
// is one it has given up.
func (s *server) accept() {
	fd, _, err := unix.Accept4(s.listener, unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
	if err != nil {
		return
	}
	cred, err := unix.GetsockoptUcred(fd, unix.SOL_SOCKET, unix.SO_PEERCRED)
	if err != nil || cred.Uid != 0 && int(cred.Uid) != os.Geteuid() {
		s.log.Warn("refused a connection", "peer", cred, "error", err)
		_ = unix.Close(fd)
		return
	}
	s.hangUp()
	if err := s.watch(fd); err != nil {
		s.log.Error("watching the agent's connection failed", "error", err)
		_ = unix.Close(fd)
		return
	}
	s.conn = fd
	clear(s.changed) // the agent asks for the state first
}

func (s *server) hangUp() {
	if s.conn >= 0 {
		_ = unix.Close(s.conn)
	}
	s.conn = -1
}

// receive serves one request. Whoever breaks the protocol loses the connection.
func (s *server) receive() {
	buf, oob := make([]byte, maxMessage+1), make([]byte, unix.CmsgSpace(4*maxFiles))
	n, oobn, flags, _, err := unix.Recvmsg(s.conn, buf, oob, unix.MSG_DONTWAIT|unix.MSG_CMSG_CLOEXEC)
	if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR) {
		return
	}
	files := parseRights(oob[:max(0, oobn)])
	defer shut(files...)
	if err != nil || n == 0 {
		s.hangUp()
		return
	}
	m, err := Parse(buf[:n])
	if err != nil || flags&(unix.MSG_TRUNC|unix.MSG_CTRUNC) != 0 {
		s.log.Warn("malformed request: closing the connection", "error", err, "flags", flags)
		s.hangUp()
		return
	}
	reply, out, err := s.serve(m, files)
	defer func() { closeAll(out.mine) }()
	passed := append(slices.Clone(out.mine), out.shared...)
	if err != nil {
		reply, passed = refusal(err), nil
	}
	reply.Kind, reply.Seq = Reply, m.Seq
	if err := s.send(reply, passed); err != nil {
		s.log.Warn("the agent takes no reply: closing the connection", "error", err)
		s.hangUp()
	}
}

// outgoing are the descriptors of a reply: mine are closed once it is sent, shared are the ones being read.
type outgoing struct{ mine, shared []int }

// serve does what a request asks. Descriptors it keeps become -1 in files.
func (s *server) serve(m Message, files []int) (Message, outgoing, error) {
	if m.ID == "" && m.Kind != List {
		return Message{}, outgoing{}, invalid("id")
	}
	switch m.Kind {
	case Open:
		out, err := s.open(m.ID)
		return Message{Mask: allMask}, out, err
	case Restore:
		return Message{}, outgoing{}, s.restore(m, files)
	case Attach:
		mask, out := s.attach(m.ID)
		return Message{Mask: mask}, out, nil
	case List:
		return Message{Entries: s.list(m.ID)}, outgoing{}, nil
	case Forget:
		return Message{}, outgoing{}, s.forget(m.ID)
	}
	return Message{}, outgoing{}, invalid("kind")
}

// open makes the pipes of a new life. An older life that still has a writer is ended here: what is in its pipes is
// kept, what comes later is not.
func (s *server) open(id string) (outgoing, error) {
	var out outgoing
	var stages []int
	for _, stream := range captured {
		if p := s.streams[key{id, stream}]; p != nil && !p.eof {
			if err := s.end(p); err != nil {
				return out, err
			}
		}
	}
	for _, stream := range captured {
		k := key{id, stream}
		fds, err := newPipe()
		if err != nil {
			return out, fmt.Errorf("make pipe: %w", err)
		}
		out.mine = append(out.mine, fds[1])
		p, err := s.add(k, fds[0], -1)
		if err != nil {
			return out, err
		}
		s.begin(p)
		out.shared, stages = append(out.shared, p.fd), append(stages, p.stage)
	}
	out.shared = append(out.shared, stages...)
	s.work()
	return out, nil
}

// end finishes a stream that may have a writer. A disk that is late, or a writer that holds the pipe, has to be asked again
// later; for one that hangs what is in the pipe is discarded.
func (s *server) end(p *pipe) error {
	for range 4 { // it may have to be opened, its space to be asked for, and a hole to be counted before
		if !p.out && s.plan(p, pipeBytes) {
			s.aside(p)
		}
		if s.await(p.home); p.out {
			return errHeld
		}
		if p.eof {
			return nil
		}
		s.work()
	}
	if p.busy && !s.disk.hangs(s.now) {
		return errLate
	}
	s.plan(p, pipeBytes)
	p.visit.errand = toss
	s.aside(p)
	if s.await(p.home); p.out {
		return errHeld
	}
	if !p.eof {
		s.finish(p)
	}
	return nil
}

// begin says that the pipe is that of a new life.
func (s *server) begin(p *pipe) {
	s.store.keep(p.key, p.fd, p.stage)
	if p.opened {
		p.due = p.due || p.place() > 0
	} else {
		p.fresh = true
	}
}

// restore reads given pipes, each followed by its stage if that is there; of those that are read already the
// descriptors are left to the caller to close.
func (s *server) restore(m Message, files []int) error {
	next := 0
	for _, stream := range captured {
		if !m.Mask.Has(stream) {
			continue
		}
		if next == len(files) || !isPipe(files[next]) {
			return invalid("descriptors")
		}
		given := files[next : next+1]
		if next++; next < len(files) && isStage(files[next]) {
			given = files[next-1 : next+1]
			next++
		}
		if p := s.streams[key{m.ID, stream}]; p != nil && !p.eof {
			continue
		}
		if err := s.take(key{m.ID, stream}, given); err != nil {
			return err
		}
	}
	return nil
}

// take reads a pipe that was given, with its stage if that came; both are -1 in files afterwards.
func (s *server) take(k key, files []int) error {
	fd, stage := files[0], -1
	files[0] = -1
	if len(files) > 1 {
		stage, files[1] = files[1], -1
	}
	p, err := s.add(k, fd, stage)
	if err == nil {
		s.store.keep(k, p.fd, p.stage)
	}
	return err
}

// attach gives the descriptors of the dyno's streams, each one's read end and stage.
func (s *server) attach(id string) (Mask, outgoing) {
	var mask Mask
	var out outgoing
	for _, stream := range captured {
		if p := s.streams[key{id, stream}]; p != nil && p.fd >= 0 {
			mask = mask.With(stream)
			out.shared = append(out.shared, p.fd, p.stage)
		}
	}
	return mask, out
}

// list gives whole dynos only, so that the next request can go on after the last one.
func (s *server) list(after string) []Entry {
	var entries []Entry
	for _, k := range slices.SortedFunc(maps.Keys(s.streams), compare) {
		if k.id <= after {
			continue
		}
		if len(entries) >= maxEntries-1 && entries[len(entries)-1].ID != k.id {
			break
		}
		entries = append(entries, Entry{ID: k.id, Stream: k.stream, End: s.streams[k].last(), Live: true})
	}
	return entries
}

func compare(a, b key) int {
	if c := strings.Compare(a.id, b.id); c != 0 {
		return c
	}
	return int(a.stream) - int(b.stream)
}

// forget stops reading the dyno. A disk that is at work for it has to be asked again later: what it makes would come
// back after the dyno is gone.
func (s *server) forget(id string) error {
	s.work()
	for _, stream := range captured {
		for _, p := range []*pipe{s.streams[key{id, stream}], s.ended[key{id, stream}]} {
			if p == nil {
				continue
			}
			if s.await(p.home); p.out {
				return errHeld
			}
			if p.busy {
				return errLate
			}
			p.hole.remove()
			p.hole, p.due, p.eof = nil, false, true
			s.conclude(p)
		}
	}
	s.work()
	for _, stream := range captured {
		k := key{id, stream}
		if p := s.streams[k]; p != nil {
			return errLate
		}
		delete(s.ended, k)
		delete(s.changed, k)
	}
	return nil
}

// note remembers a stream's state for the agent.
func (s *server) note(p *pipe) {
	if s.conn >= 0 {
		s.changed[p.key] = change{pipe: p, live: s.streams[p.key] == p}
	}
}

// change is what the agent is to be told.
type change struct {
	pipe *pipe
	live bool
}

// due tells whether a change may be told now: that of a quiet stream at once.
func (c change) due(now time.Time) bool { return !c.live || now.Sub(c.pipe.told) >= tellEvery }

// tell sends what has changed. An agent that does not read is told later, the newest state only.
func (s *server) tell() {
	if s.conn < 0 {
		return
	}
	m := Message{Kind: Changes}
	for k, c := range s.changed {
		if !c.due(s.now) {
			continue
		}
		m.Entries = append(m.Entries, Entry{ID: k.id, Stream: k.stream, End: c.pipe.last(), Live: c.live})
		if len(m.Entries) < maxEntries {
			continue
		}
		if !s.told(m) {
			return
		}
		m.Entries = nil
	}
	if len(m.Entries) > 0 {
		s.told(m)
	}
}

// told sends changes and forgets those that are sent.
func (s *server) told(m Message) bool {
	if err := s.send(m, nil); err != nil {
		if !errors.Is(err, unix.EAGAIN) {
			s.hangUp()
		}
		return false
	}
	for _, e := range m.Entries {
		k := key{e.ID, e.Stream}
		s.changed[k].pipe.told = s.now
		delete(s.changed, k)
	}
	return true
}

func (s *server) send(m Message, files []int) error {
	var oob []byte
	if len(files) > 0 {
		oob = unix.UnixRights(files...)
	}
	_, err := unix.SendmsgN(s.conn, m.Append(nil), oob, nil, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL)
	return err
}

func refusal(err error) Message {
	m := Message{Code: Internal, Text: err.Error()}
	switch {
	case errdefs.IsInvalidArgument(err):
		m.Code = Invalid
	case errdefs.IsUnavailable(err), errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EMFILE), errors.Is(err, unix.ENFILE), errors.Is(err, unix.EDQUOT):
		m.Code = Unavailable
	}
	return m
}

func parseRights(oob []byte) []int {
	var files []int
	messages, _ := unix.ParseSocketControlMessage(oob)
	for i := range messages {
		fds, _ := unix.ParseUnixRights(&messages[i])
		files = append(files, fds...)
	}
	return files
}

func closeAll(files []int) {
	for _, fd := range files {
		if fd >= 0 {
			_ = unix.Close(fd)
		}
	}
}
