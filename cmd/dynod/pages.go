package main

import (
	"bufio"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// returnPages gives the pages of this binary back to the kernel: the start has touched most of them, for parts of dynod that capture
// does not use. Those that are needed again come from the page cache.
func returnPages() error {
	maps, err := os.Open("/proc/self/maps")
	if err != nil {
		return fmt.Errorf("return pages: %w", err)
	}
	defer maps.Close()
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("return pages: %w", err)
	}
	for lines := bufio.NewScanner(maps); lines.Scan(); {
		var from, to uintptr
		var mode string
		_, err := fmt.Sscanf(lines.Text(), "%x-%x %s", &from, &to, &mode)
		if err != nil || !strings.HasSuffix(lines.Text(), " "+self) || strings.Contains(mode, "w") {
			continue
		}
		if _, _, errno := unix.Syscall(unix.SYS_MADVISE, from, to-from, unix.MADV_DONTNEED); errno != 0 {
			return fmt.Errorf("return pages: %w", errno)
		}
	}
	return nil
}
