package spool_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/dynod/dynod/logs/spool"
)

// What Sync writes only a power cut shows: see test/host. Here it meets what may lie in a spool.
func TestSync(t *testing.T) {
	dir := t.TempDir()
	if err := spool.Sync(dir, spool.Stdout, 0); err != nil {
		t.Errorf("a stream that has said nothing: %v", err)
	}
	w := openWriter(t, dir, 4096)
	for range 3 {
		must(t, w.Append(make([]byte, 4096), noon))
	}
	link := filepath.Join(spool.Dir(dir, spool.Stdout), "0000000000003000.seg")
	must(t, os.Symlink("/nowhere", link))
	for _, from := range []int64{0, 5000, 1 << 20} {
		if err := spool.Sync(dir, spool.Stdout, from); err != nil {
			t.Errorf("from %d: %v", from, err)
		}
	}
}
