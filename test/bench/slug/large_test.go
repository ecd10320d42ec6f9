package slug_test

import (
	"archive/tar"
	"compress/gzip"
	"errors"
	"io"
	"os"
	"testing"

	"github.com/dynod/dynod/test/bench/slug"
	"github.com/dynod/dynod/test/lab"
)

// TestLarge has the size that was asked for, and variants that differ in nothing but their checksum.
func TestLarge(t *testing.T) {
	lab.Root(t) // it needs a compiler
	made, err := slug.Large(t.Context(), 2)
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
		if files, bytes := count(t, file); files != 401 || bytes < 6_000_000 {
			t.Errorf("variant %d: %d files, %d bytes", n, files, bytes)
		}
	}
	if len(sums) != 2 {
		t.Error("variants have the same checksum")
	}
}

// count reads a slug to its end.
func count(t *testing.T, file string) (files int, bytes int64) {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	zr, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	for tr := tar.NewReader(zr); ; files++ {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return files, bytes
		}
		if err != nil {
			t.Fatal(err)
		}
		bytes += h.Size
	}
}
