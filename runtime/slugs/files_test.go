package slugs_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dynod/dynod/runtime/slugs"
	"github.com/dynod/dynod/runtime/transfer"
	"github.com/dynod/dynod/test/root"
)

// Whether a file goes to its writer with others, alone or is too large for that: it is as the slug has it, whatever the umask.
func TestFilesOfAllSizes(t *testing.T) {
	root.Needed(t) // it gives files to another user
	defer unix.Umask(unix.Umask(0o077))
	const owner = 4711
	s := newSource(t, func(c *slugs.Config) { c.Owner, c.MaxBytes, c.MaxUnpackedBytes = owner, 1<<30, 1<<30 })
	changed := time.Unix(1_600_000_000, 0)
	sizes := []int{0, 1, 100_000, 200_000, 256 << 10, 256<<10 + 1, 1 << 20, 0, 7}
	for range 1000 { // more than are given to a writer at a time
		sizes = append(sizes, 3)
	}
	var data bytes.Buffer
	zip := gzip.NewWriter(&data)
	w := tar.NewWriter(zip)
	for n, size := range sizes {
		must(t, w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name(n), Mode: 0o664, Size: int64(size), ModTime: changed}))
		_, err := w.Write(content(n, size))
		must(t, err)
	}
	must(t, errors.Join(w.Close(), zip.Close()))
	slug := s.write(data.Bytes())
	must(t, s.store.Fetch(t.Context(), slug, &transfer.Progress{}))
	dir, err := s.store.Path(slug.SHA256)
	must(t, err)
	for n, size := range sizes {
		path := filepath.Join(dir, name(n))
		got, err := os.ReadFile(path)
		if err != nil || !bytes.Equal(got, content(n, size)) {
			t.Fatalf("file %d of %d bytes: %d bytes, %v", n, size, len(got), err)
		}
		info, err := os.Stat(path)
		must(t, err)
		stat, _ := info.Sys().(*syscall.Stat_t)
		if info.Mode() != 0o664 || !info.ModTime().Equal(changed) || stat.Uid != owner || stat.Gid != owner {
			t.Fatalf("file %d: %s, %s, of %d:%d", n, info.Mode(), info.ModTime(), stat.Uid, stat.Gid)
		}
	}
}

func name(n int) string { return fmt.Sprintf("app/%d/%d", n%5, n) }

func content(n, size int) []byte { return bytes.Repeat([]byte{byte(n)}, size) }
