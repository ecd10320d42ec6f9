package lab_test

import (
	"archive/tar"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"os"
	"slices"
	"testing"

	"github.com/dynod/dynod/test/lab"
)

func TestSlugHoldsTheFilesBelowApp(t *testing.T) {
	files := map[string]lab.File{
		"run":      {Data: "#!/bin/sh\n", Mode: 0o755},
		"lib/a/b":  {Data: "b"},
		"lib/link": {Link: "a/b"},
	}
	file, sum, err := lab.Slug(files)
	if err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if real := sha256.Sum256(data); hex.EncodeToString(real[:]) != sum {
		t.Errorf("digest %s, file has %x", sum, real)
	}
	got := entries(t, file)
	want := []string{
		"./app/ -rwxr-xr-x", "./app/lib/ -rwxr-xr-x", "./app/lib/a/ -rwxr-xr-x", "./app/lib/a/b -rw-r--r--",
		"./app/lib/link -rwxrwxrwx", "./app/run -rwxr-xr-x",
	}
	if !slices.Equal(got, want) {
		t.Errorf("entries\n%q, want\n%q", got, want)
	}
	if _, again, err := lab.Slug(files); err != nil || again != sum {
		t.Errorf("second time %s, %v; want %s", again, err, sum)
	}
}

func entries(t *testing.T, slug string) []string {
	t.Helper()
	f, err := os.Open(slug)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	zr, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for tr := tar.NewReader(zr); ; {
		h, err := tr.Next()
		if err == io.EOF {
			return names
		}
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, h.Name+" "+h.FileInfo().Mode().Perm().String())
	}
}
