package proc

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// freeSlab is what slabs that cannot be reclaimed hold of objects that nobody uses, in bytes. The kernel keeps it after a crowd, so the
// first one of a comparison would pay for all.
func freeSlab() (sum int64, err error) {
	data, err := os.ReadFile("/proc/slabinfo")
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(data)) {
		var name string
		var active, all, size int64
		if _, err := fmt.Sscan(line, &name, &active, &all, &size); err != nil {
			continue // one of the two lines of headings
		}
		reclaimable, err := os.ReadFile(filepath.Join("/sys/kernel/slab", name, "reclaim_account"))
		if err != nil {
			return 0, err
		}
		if !bytes.HasPrefix(reclaimable, []byte("1")) {
			sum += (all - active) * size
		}
	}
	return sum, nil
}
