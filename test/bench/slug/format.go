package slug

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"io"
	"time"

	"github.com/klauspost/compress/zstd"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Format is how a slug is compressed.
type Format struct {
	Suffix    string // of a file's name
	mediaType string
	compress  func(io.Writer) (io.WriteCloser, error)
	nothing   func(n int) io.Reader // what can follow the file without a change to what is in it, different for each n
}

// The formats that slugs have.
var (
	Gzip = Format{"tgz", ocispec.MediaTypeImageLayerGzip, gzipped, emptyMember}
	Zstd = Format{"tar.zst", ocispec.MediaTypeImageLayerZstd, zstandard, skippedFrame}
)

func gzipped(w io.Writer) (io.WriteCloser, error) { return gzip.NewWriter(w), nil }

func zstandard(w io.Writer) (io.WriteCloser, error) { return zstd.NewWriter(w) }

func emptyMember(n int) io.Reader {
	var data bytes.Buffer
	w := gzip.NewWriter(&data)
	w.ModTime = time.Unix(int64(n+1), 0)
	_ = w.Close() // a buffer takes everything
	return &data
}

func skippedFrame(n int) io.Reader {
	const magic, size = 0x184D2A50, 4
	frame := binary.LittleEndian.AppendUint32(nil, magic)
	frame = binary.LittleEndian.AppendUint32(frame, size)
	return bytes.NewReader(binary.LittleEndian.AppendUint32(frame, uint32(n)))
}
