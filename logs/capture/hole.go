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
	torn    bool  // a part of the stage may be in it: that is being discarded
	stuck   bool  // its file takes no more: bytes are counted here alone, lines are not
}

// unknown is the beginning of a hole while it is not known where the stream stands: it begins after what is in the stage.
const unknown = -1

// makeHole gives a hole in any case; after an error it is stuck.
func makeHole(path string, l spool.Lost) (*hole, error) {
	h := &hole{Lost: l, fd: -1, path: path, stuck: true}
	flags := unix.O_RDWR | unix.O_CREAT | unix.O_TRUNC | unix.O_CLOEXEC | unix.O_NOFOLLOW
	fd, err := unix.Open(path, flags, 0o600)
	if err != nil {
		return h, fmt.Errorf("make hole: %w", err)
	}
	h.fd = fd
	if err := h.record(); err != nil {
		return h, fmt.Errorf("make hole: %w", err)
	}
	h.stuck = false
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
	return h, h.count(buf)
}

// end is the position after the last byte that was discarded, if the beginning is known.
func (h *hole) end() int64 { return h.From + h.size }

// begin moves the hole in the stream.
func (h *hole) begin(from int64, torn bool) {
	h.From, h.torn = from, torn
	if h.fd >= 0 {
		_ = h.record()
	}
}

// resume finds the place of a hole in a stream that ends at tail, with so many bytes more in its stage; false: the spool
// counts it already. One of which a part is counted is counted again as a whole.
func (h *hole) resume(tail, staged int64) bool {
	if h.size == 0 || staged == 0 && h.From != unknown && tail >= h.end() {
		return false
	}
	if staged > 0 || h.From == unknown { // nothing of it is counted before the stage is empty
		h.begin(max(h.From, tail+staged), false)
	}
	return true
}

// take moves up to limit bytes out of a pipe, to null if its file takes no more, and counts them.
func (h *hole) take(pipe int, limit int64, null int, buf []byte) (int64, error) {
	if !h.stuck {
		at := holeHead + h.size
		n, err := splice(pipe, h.fd, &at, limit)
		h.size += n
		if err == nil || later(err) {
			_ = h.count(buf)
			return n, err
		}
		h.stuck = true
	}
	n, err := splice(pipe, null, nil, limit)
	h.size += n
	return n, err
}

// count looks at the bytes that were not looked at yet, and frees them.
func (h *hole) count(buf []byte) error {
	begin := (holeHead + h.counted) &^ 4095 // whole pages only are freed
	for h.counted < h.size {
		n, err := unix.Pread(h.fd, buf[:min(int64(len(buf)), h.size-h.counted)], holeHead+h.counted)
		if n <= 0 {
			return fmt.Errorf("count lines: %w", err)
		}
		h.Lines += int64(bytes.Count(buf[:n], []byte{'\n'}))
		h.counted += int64(n)
	}
	err := h.record()
	_ = unix.Fallocate(h.fd, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, begin, holeHead+h.size-begin)
	return err
}

// record writes what the size does not tell. A kill does not tear it: it lies in one page. Where a torn hole begins is
// written as a number below unknown.
func (h *hole) record() error {
	b := make([]byte, 0, holeRecord)
	from := h.From
	if h.torn {
		from = unknown - 1 - from
	}
	for _, n := range []int64{from, h.Lines, h.Since.UnixNano(), h.counted} {
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
	if h.torn = h.From < unknown; h.torn {
		h.From = unknown - 1 - h.From
	}
	return h.From >= unknown && h.Lines >= 0 && h.Lines <= h.counted && max(h.From, h.counted) < 1<<60
}

// remove forgets the hole: its count is in the spool.
func (h *hole) remove() {
	if h != nil {
		_ = os.Remove(h.path)
		closeAll([]int{h.fd})
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

// foundHoles are the streams of which an earlier capture discarded something that may not be counted in the spool.
func (s *server) foundHoles() (keys []key) {
	entries, _ := os.ReadDir(s.holes())
	for _, e := range entries {
		if k, ok := parseKey(e.Name()); ok {
			keys = append(keys, k)
		}
	}
	return keys
}
