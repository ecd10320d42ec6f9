package slug_test

import (
	"archive/tar"
	"compress/gzip"
	"errors"
	"io"
	"os"
	"testing"

	"github.com/klauspost/compress/zstd"

	"github.com/dynod/dynod/test/bench/slug"
	"github.com/dynod/dynod/test/lab"
)

// TestLarge has the size that was asked for, and variants that differ in nothing but their checksum.
func TestLarge(t *testing.T) {
	lab.Root(t) // it needs a compiler
	for _, format := range []slug.Format{slug.Gzip, slug.Zstd} {
		t.Run(format.Suffix, func(t *testing.T) { large(t, format) })
	}
}

func large(t *testing.T, format slug.Format) {
	made, err := slug.Large(t.Context(), 2, format)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(made.File); err != nil || info.Size() < 1_700_000 || info.Size() > 2_300_000 {
		t.Errorf("size: %d, %v", info.Size(), err)
	}
	sums := map[string]bool{}
	for n := range 2 {
		file, sum, err := made.Variant(t.TempDir(), n)
		if err != nil {
			t.Fatal(err)
		}
		sums[sum] = true
		if files, bytes := count(t, file, format); files != 401 || bytes < 6_000_000 {
			t.Errorf("variant %d: %d files, %d bytes", n, files, bytes)
		}
	}
	if len(sums) != 2 {
		t.Error("variants have the same checksum")
	}
}

// count reads a slug to its end.
func count(t *testing.T, file string, format slug.Format) (files int, bytes int64) {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var zr io.Reader
	if format.Suffix == slug.Gzip.Suffix {
		zr, err = gzip.NewReader(f)
	} else {
		zr, err = zstd.NewReader(f)
	}
	if err != nil {
		t.Fatal(err)
	}
	for tr := tar.NewReader(zr); ; files++ {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			if rest, err := io.ReadAll(zr); err != nil || len(rest) != 0 {
				t.Errorf("after the tar: %d bytes, %v", len(rest), err)
			}
			return files, bytes
		}
		if err != nil {
			t.Fatal(err)
		}
		bytes += h.Size
	}
}
