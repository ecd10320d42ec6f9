package slugs

import (
	"bufio"
	"bytes"
	"fmt"
	"io"

	"github.com/containerd/errdefs"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

const (
	// ahead is how far each step of unpacking may be before the next one, in bytes.
	ahead = 1 << 20
	// maxWindow bounds the memory, in bytes, that a zstd file can ask for: up to level 20 none needs more.
	maxWindow = 32 << 20
)

var gzipMagic, zstdMagic = []byte{0x1f, 0x8b}, []byte{0x28, 0xb5, 0x2f, 0xfd}

// decompress knows gzip and zstd by their first bytes. It works in a goroutine of its own, ahead of whoever reads; stop ends
// that, and nothing reads the file any more when it returns.
func decompress(file io.Reader) (unzipped io.Reader, stop func(), err error) {
	buffered := bufio.NewReaderSize(file, ahead)
	start, _ := buffered.Peek(len(zstdMagic)) // too short: neither
	switch {
	case bytes.HasPrefix(start, gzipMagic):
		unzipped, err = gzip.NewReader(buffered)
	case bytes.HasPrefix(start, zstdMagic):
		var z *zstd.Decoder
		z, err = zstd.NewReader(buffered, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxWindow))
		unzipped = z
	default:
		err = fmt.Errorf("neither gzip nor zstd")
	}
	if err != nil {
		return nil, nil, fmt.Errorf("open slug: %w: %w", errdefs.ErrInvalidArgument, err)
	}
	unzipped, stop = readAhead(unzipped)
	return unzipped, stop, nil
}

func readAhead(from io.Reader) (read io.Reader, stop func()) {
	r, w := io.Pipe()
	done := make(chan struct{})
	go func() {
		defer close(done)
		room := bufio.NewWriterSize(w, ahead)
		_, err := room.ReadFrom(from)
		if err == nil {
			err = room.Flush()
		}
		_ = w.CloseWithError(err) // of nil: the end
	}()
	return bufio.NewReaderSize(r, ahead), func() {
		_ = r.Close()
		<-done
	}
}
