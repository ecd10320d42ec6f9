package slugs_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/containerd/containerd/v2/pkg/archive"
	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"
	"pgregory.net/rapid"

	"github.com/dynod/dynod/runtime/transfer"
)

// packTo writes a tar below prefix in which no two files are alike.
func packTo(w io.Writer, prefix string, entries []tar.Header) error {
	out := tar.NewWriter(w)
	for i, h := range entries {
		content := fmt.Appendf(nil, "%d", i)
		h.Name, h.Mode, h.Uid, h.Gid = prefix+h.Name, 0o755, os.Getuid(), os.Getuid()
		if h.Typeflag == tar.TypeLink {
			h.Linkname = prefix + h.Linkname
		}
		if h.Typeflag == tar.TypeReg {
			h.Size = int64(len(content))
		}
		if err := out.WriteHeader(&h); err != nil {
			return err
		}
		if h.Typeflag == tar.TypeReg {
			if _, err := out.Write(content); err != nil {
				return err
			}
		}
	}
	return out.Close()
}

// tree is what is below a directory: kind, mode and content by name.
func tree(dir string) (map[string]string, error) {
	all := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		content := []byte(nil)
		switch {
		case info.Mode().IsRegular():
			content, err = os.ReadFile(path)
		case info.Mode()&fs.ModeSymlink != 0:
			var to string
			to, err = os.Readlink(path)
			content = []byte(to)
		}
		all[path[len(dir):]] = fmt.Sprintf("%s %s", info.Mode(), content)
		return err
	})
	return all, err
}

// However names repeat and lead through links, a slug becomes what containerd makes of the same tar in its order.
func TestWritingSideBySideChangesNothing(t *testing.T) {
	names := rapid.SampledFrom([]string{"a", "b", "c", "a/x", "a/b", "b/x", "a/b/y", "c/x", "d/e/f", "d/e/g", "d"})
	entry := rapid.Custom(func(t *rapid.T) tar.Header {
		h := tar.Header{Typeflag: rapid.SampledFrom([]byte{tar.TypeReg, tar.TypeReg, tar.TypeDir, tar.TypeSymlink, tar.TypeLink}).Draw(t, "kind")}
		h.Name = names.Draw(t, "name")
		if h.Typeflag == tar.TypeSymlink || h.Typeflag == tar.TypeLink {
			h.Linkname = names.Draw(t, "target")
		}
		return h
	})
	dir, n := t.TempDir(), 0
	rapid.Check(t, func(rt *rapid.T) {
		entries := rapid.SliceOfN(entry, 1, 12).Draw(rt, "entries")
		n++
		want := filepath.Join(dir, fmt.Sprint(n))
		must(t, os.Mkdir(want, 0o755))
		var plain, packed bytes.Buffer
		must(t, packTo(&plain, "", entries))
		if _, err := archive.Apply(t.Context(), want, &plain); err != nil {
			rt.Skip("a tar that nobody can unpack")
		}
		zip := gzip.NewWriter(&packed)
		must(t, errors.Join(packTo(zip, "./app/", entries), zip.Close()))
		s := newSource(t)
		slug := s.write(packed.Bytes())
		if err := s.store.Fetch(t.Context(), slug, &transfer.Progress{}); err != nil {
			rt.Fatal(err)
		}
		got, err := s.store.Path(slug.SHA256)
		must(t, err)
		ours, err := tree(filepath.Join(got, "app"))
		must(t, err)
		theirs, err := tree(want)
		must(t, err)
		if diff := cmp.Diff(theirs, ours); diff != "" {
			rt.Error(diff)
		}
	})
}

func TestZstdSlugs(t *testing.T) {
	for window, accepted := range map[int]bool{8 << 20: true, 64 << 20: false} {
		var data bytes.Buffer
		w, err := zstd.NewWriter(&data, zstd.WithWindowSize(window))
		must(t, err)
		must(t, packTo(w, "./app/", []tar.Header{{Typeflag: tar.TypeReg, Name: "file"}}))
		_, err = w.Write(make([]byte, 1<<20)) // a short frame has no window
		must(t, errors.Join(err, w.Close()))
		s := newSource(t)
		slug := s.write(data.Bytes())
		if err := s.store.Fetch(t.Context(), slug, &transfer.Progress{}); (err == nil) != accepted {
			t.Errorf("a window of %d bytes: %v", window, err)
		}
		if !accepted {
			continue
		}
		dir, err := s.store.Path(slug.SHA256)
		must(t, err)
		if got, err := os.ReadFile(filepath.Join(dir, "app", "file")); string(got) != "0" {
			t.Errorf("%q, %v", got, err)
		}
	}
}
