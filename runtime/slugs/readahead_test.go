package slugs_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"math/rand/v2"
	"testing"

	"github.com/containerd/errdefs"

	"github.com/dynod/dynod/runtime/slugs"
	"github.com/dynod/dynod/runtime/transfer"
)

// large is a slug of many pieces, which no compression makes shorter. From cut on, its second half of files is missing.
func large(t *testing.T) (data []byte, cut int) {
	t.Helper()
	var packed bytes.Buffer
	zip := gzip.NewWriter(&packed)
	w := tar.NewWriter(zip)
	random := rand.NewChaCha8([32]byte{})
	for n := range 10 {
		if n == 5 {
			must(t, errors.Join(w.Flush(), zip.Flush()))
			cut = packed.Len()
		}
		h := file(name(n))
		h.Size = 1 << 20
		must(t, w.WriteHeader(&h))
		some := make([]byte, h.Size)
		_, _ = random.Read(some) // never fails
		_, err := w.Write(some)
		must(t, err)
	}
	must(t, errors.Join(w.Close(), zip.Close()))
	return packed.Bytes(), cut
}

func roomy(c *slugs.Config) { c.MaxBytes, c.MaxUnpackedBytes = 1<<30, 1<<30 }

// A tar may end without saying so, but a file that ends between two of its entries is no whole slug.
func TestSlugCutOffBetweenFiles(t *testing.T) {
	data, cut := large(t)
	s := newSource(t, roomy)
	slug := s.write(data[:cut])
	if err := s.store.Fetch(t.Context(), slug, &transfer.Progress{}); err == nil {
		t.Error("accepted")
	}
	slug = s.write(data)
	must(t, s.store.Fetch(t.Context(), slug, &transfer.Progress{}))
}

// The digest of what is refused is right nevertheless: all of the file is read in its order, by one after another.
func TestRefusalIsNoWrongDigest(t *testing.T) {
	data, _ := large(t)
	s := newSource(t, roomy, func(c *slugs.Config) { c.MaxUnpackedBytes = 3 << 20 })
	progress := &transfer.Progress{}
	if err := s.store.Fetch(t.Context(), s.write(data), progress); !errdefs.IsOutOfRange(err) {
		t.Error(err)
	}
	if fetched, _ := progress.Now(); fetched != int64(len(data)) {
		t.Errorf("read %d of %d bytes", fetched, len(data))
	}
}
