package capture

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dynod/dynod/logs/spool"
)

const (
	holeHead   = 4096 // bytes before the discarded ones
	holeRecord = 36   // of them in use
)

// hole is the count of what is discarded of one stream, in a file that outlives this process; it lies on the tmpfs of
// the socket. The bytes are moved there out of the pipe, each to its place behind holeHead, and punched out when their
// newlines are counted: the file's size is the count. The kernel moves bytes and size together, so capture may be
// killed at any moment without forgetting a byte or counting one twice.
type hole struct {
	spool.Lost
	fd      int
	path    string
	size    int64 // bytes discarded
	counted int64 // of them, those that Lines counts
	stuck   bool  // takes no more
}

func makeHole(path string, l spool.Lost) (*hole, error) {
	flags := unix.O_RDWR | unix.O_CREAT | unix.O_TRUNC | unix.O_CLOEXEC | unix.O_NOFOLLOW
	fd, err := unix.Open(path, flags, 0o600)
	if err != nil {
		return nil, fmt.Errorf("make hole: %w", err)
	}
	h := &hole{Lost: l, fd: fd, path: path}
	if err := h.record(); err != nil {
		h.remove()
		return nil, fmt.Errorf("make hole: %w", err)
	}
	return h, nil
}

// loadHole finds what a killed capture discarded.
func loadHole(path string, buf []byte) (*hole, error) {
	fd, err := unix.Open(path, unix.O_RDWR|unix.O_CLOEXEC|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	h := &hole{fd: fd, path: path}
	var st unix.Stat_t
	record := make([]byte, holeRecord)
	n, err := unix.Pread(fd, record, 0)
	if err = errors.Join(err, unix.Fstat(fd, &st)); err == nil && !h.parse(record[:max(0, n)]) {
		err = errors.New("damaged")
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("read hole: %w", err), unix.Close(fd))
	}
	h.size = max(h.counted, st.Size-holeHead)
	_, err = h.count(buf)
	return h, err
}

// end is the position after the last byte that was discarded.
func (h *hole) end() int64 { return h.From + h.size }

// take moves up to limit bytes out of a pipe and tells how many, and how many newlines are among them.
func (h *hole) take(pipe int, limit int64, buf []byte) (n, lines int64, err error) {
	at := holeHead + h.size
	n, err = unix.Splice(pipe, nil, h.fd, &at, int(limit), unix.SPLICE_F_NONBLOCK)
	if err != nil || n == 0 {
		h.stuck = err != nil && !later(err)
		return 0, 0, err
	}
	h.size += n
	lines, _ = h.count(buf)
	return n, lines, nil
}

// later tells that nothing is wrong but that there is nothing now.
func later(err error) bool { return errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR) }

// count looks at the bytes that were not looked at yet, and frees them.
func (h *hole) count(buf []byte) (lines int64, err error) {
	begin := (holeHead + h.counted) &^ 4095 // whole pages only are freed
	for h.counted < h.size {
		n, err := unix.Pread(h.fd, buf[:min(int64(len(buf)), h.size-h.counted)], holeHead+h.counted)
		if n <= 0 {
			return lines, fmt.Errorf("count lines: %w", err)
		}
		lines += int64(bytes.Count(buf[:n], []byte{'\n'}))
		h.counted += int64(n)
	}
	h.Lines += lines
	err = h.record()
	_ = unix.Fallocate(h.fd, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, begin, holeHead+h.size-begin)
	return lines, err
}

// record writes what the size does not tell. A kill does not tear it: it lies in one page.
func (h *hole) record() error {
	b := make([]byte, 0, holeRecord)
	for _, n := range []int64{h.From, h.Lines, h.Since.UnixNano(), h.counted} {
		b = binary.LittleEndian.AppendUint64(b, uint64(n))
	}
	_, err := unix.Pwrite(h.fd, binary.LittleEndian.AppendUint32(b, crc32.ChecksumIEEE(b)), 0)
	return err
}

func (h *hole) parse(b []byte) bool {
	if len(b) != holeRecord || crc32.ChecksumIEEE(b[:32]) != binary.LittleEndian.Uint32(b[32:]) {
		return false
	}
	var n [4]int64
	for i := range n {
		n[i] = int64(binary.LittleEndian.Uint64(b[8*i:]))
	}
	h.From, h.Lines, h.Since, h.counted = n[0], n[1], time.Unix(0, n[2]), n[3]
	return min(h.From, h.Lines) >= 0 && h.Lines <= h.counted && max(h.From, h.counted) < 1<<60
}

// remove forgets the hole: its count is in the spool.
func (h *hole) remove() {
	if h != nil {
		_ = os.Remove(h.path)
		_ = unix.Close(h.fd)
	}
}

func (s *server) holes() string { return filepath.Join(filepath.Dir(s.cfg.Socket), "holes") }

func (s *server) holePath(k key) string { return filepath.Join(s.holes(), k.name()) }

// found gives the hole that an earlier capture was killed in, nil if there is none.
func (s *server) found(k key) *hole {
	h, err := loadHole(s.holePath(k), s.buf)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		s.log.Warn("what was discarded before is not known", "dyno", k.id, "stream", k.stream.String(), "error", err)
	}
	return h
}

// settle counts in the spool what was discarded of streams that nobody reads any more.
func (s *server) settle() {
	entries, _ := os.ReadDir(s.holes())
	for _, e := range entries {
		k, ok := parseKey(e.Name())
		if !ok || s.streams[k] != nil {
			continue
		}
		p, err := s.continued(k)
		if err == nil {
			err = p.close()
		}
		if err != nil {
			s.log.Warn("dropped output is not counted yet", "dyno", k.id, "stream", k.stream.String(), "error", err)
		}
	}
}
