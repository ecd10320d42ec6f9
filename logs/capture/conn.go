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

	"github.com/dynod/dynod/logs/spool"
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
	defer closeAll(files)
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
		s.forget(m.ID)
		return Message{}, outgoing{}, nil
	}
	return Message{}, outgoing{}, invalid("kind")
}

// open makes the pipes of a new life. An older life that still has a writer is ended here: what is in its pipes is
// kept, what comes later is not.
func (s *server) open(id string) (outgoing, error) {
	var out outgoing
	for _, stream := range captured {
		if p := s.streams[key{id, stream}]; p != nil {
			s.pump(p)
		}
		if p := s.streams[key{id, stream}]; p != nil {
			s.finish(p)
		}
		var fds [2]int
		if err := unix.Pipe2(fds[:], unix.O_CLOEXEC); err != nil {
			return out, fmt.Errorf("make pipe: %w", err)
		}
		out.mine = append(out.mine, fds[1])
		_, _ = unix.FcntlInt(uintptr(fds[0]), unix.F_SETPIPE_SZ, pipeBytes) // a smaller pipe works too
		if err := errors.Join(spool.Seal(s.dir(id), stream), s.add(key{id, stream}, fds[0])); err != nil {
			return out, err
		}
		out.shared = append(out.shared, fds[0])
	}
	return out, nil
}

// restore reads given pipes; of those that are read already the descriptors are left to the caller to close.
func (s *server) restore(m Message, files []int) error {
	next := 0
	for _, stream := range captured {
		if !m.Mask.Has(stream) {
			continue
		}
		if next == len(files) || !isPipe(files[next]) {
			return invalid("descriptors")
		}
		fd := &files[next]
		next++
		if s.streams[key{m.ID, stream}] != nil {
			continue
		}
		taken := *fd
		*fd = -1
		if err := s.add(key{m.ID, stream}, taken); err != nil {
			return err
		}
	}
	return nil
}

func isPipe(fd int) bool {
	var st unix.Stat_t
	return unix.Fstat(fd, &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFIFO
}

func (s *server) attach(id string) (Mask, outgoing) {
	var mask Mask
	var out outgoing
	for _, stream := range captured {
		if p := s.streams[key{id, stream}]; p != nil {
			mask = mask.With(stream)
			out.shared = append(out.shared, p.fd)
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
		entries = append(entries, Entry{ID: k.id, Stream: k.stream, End: s.streams[k].writer.Offset(), Live: true})
	}
	return entries
}

func compare(a, b key) int {
	if c := strings.Compare(a.id, b.id); c != 0 {
		return c
	}
	return int(a.stream) - int(b.stream)
}

func (s *server) forget(id string) {
	for _, stream := range captured {
		if p := s.streams[key{id, stream}]; p != nil {
			s.drop(p)
		}
		delete(s.changed, key{id, stream})
	}
}

// note remembers a stream's state for the agent.
func (s *server) note(p *pipe, live bool) {
	if s.conn >= 0 {
		s.changed[p.key] = Entry{ID: p.id, Stream: p.stream, End: p.writer.Offset(), Live: live}
	}
}

// tell sends what has changed. An agent that does not read is told later, the newest state only.
func (s *server) tell() {
	if s.conn < 0 || len(s.changed) == 0 || time.Since(s.told) < tellEvery {
		return
	}
	s.told = time.Now()
	for len(s.changed) > 0 {
		m := Message{Kind: Changes}
		for _, e := range s.changed {
			if m.Entries = append(m.Entries, e); len(m.Entries) == maxEntries {
				break
			}
		}
		if err := s.send(m, nil); err != nil {
			if !errors.Is(err, unix.EAGAIN) {
				s.hangUp()
			}
			return
		}
		for _, e := range m.Entries {
			delete(s.changed, key{e.ID, e.Stream})
		}
	}
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
	case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EMFILE), errors.Is(err, unix.ENFILE), errors.Is(err, unix.EDQUOT):
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
