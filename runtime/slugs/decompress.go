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

// maxWindow bounds the memory, in bytes, that a zstd file can ask for: up to level 20 none needs more.
const maxWindow = 32 << 20

var gzipMagic, zstdMagic = []byte{0x1f, 0x8b}, []byte{0x28, 0xb5, 0x2f, 0xfd}

// decompress knows gzip and zstd by their first bytes.
func decompress(file io.Reader) (unzipped io.Reader, err error) {
	buffered := bufio.NewReaderSize(file, pieceSize)
	start, _ := buffered.Peek(len(zstdMagic)) // too short: neither
	switch {
	case bytes.HasPrefix(start, gzipMagic):
		unzipped, err = gzip.NewReader(buffered)
	case bytes.HasPrefix(start, zstdMagic):
		unzipped, err = zstd.NewReader(buffered, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxWindow))
	default:
		err = fmt.Errorf("neither gzip nor zstd")
	}
	if err != nil {
		return nil, fmt.Errorf("open slug: %w: %w", errdefs.ErrInvalidArgument, err)
	}
	return unzipped, nil
}
