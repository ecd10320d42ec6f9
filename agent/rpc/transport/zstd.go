package transport

import (
	"errors"
	"io"
	"sync"

	"github.com/klauspost/compress/zstd"
	"google.golang.org/grpc/encoding"
)

// Zstd names the compressor that both ends know: what a call asks for with grpc.UseCompressor.
const Zstd = "zstd"

// window bounds what a message may refer back to, and so the memory that reading one takes.
const window = 1 << 20

func init() { encoding.RegisterCompressor(&compressor{}) } // grpc takes it at no other time

// compressor is safe for concurrent use. What it lends is used by one message at a time.
type compressor struct{ writers, readers sync.Pool }

func (*compressor) Name() string { return Zstd }

func (c *compressor) Compress(w io.Writer) (io.WriteCloser, error) {
	if z, ok := c.writers.Get().(*writer); ok {
		z.Reset(w)
		return z, nil
	}
	z, err := zstd.NewWriter(w, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1),
		zstd.WithWindowSize(window/2), zstd.WithLowerEncoderMem(true), zstd.WithEncoderCRC(false)) // the connection has checksums
	return &writer{z, &c.writers}, err
}

func (c *compressor) Decompress(r io.Reader) (io.Reader, error) {
	if z, ok := c.readers.Get().(*reader); ok {
		return z, z.Reset(r)
	}
	z, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(window), zstd.WithDecoderLowmem(true))
	return &reader{z, &c.readers}, err
}

type writer struct {
	*zstd.Encoder
	home *sync.Pool
}

// Close ends the message and gives the writer back.
func (w *writer) Close() error {
	defer w.home.Put(w)
	return w.Encoder.Close()
}

type reader struct {
	*zstd.Decoder
	home *sync.Pool
}

// Read gives the reader back at the end of its message.
func (r *reader) Read(p []byte) (int, error) {
	n, err := r.Decoder.Read(p)
	if errors.Is(err, io.EOF) {
		r.home.Put(r)
	}
	return n, err
}
