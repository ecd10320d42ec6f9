// Package root is how a test says that it needs root and the real kernel, and not a whole lab.
package root

import (
	"os"
	"testing"
)

// Needed skips a test under -short, and fails it for another user than root.
func Needed(t testing.TB) {
	t.Helper()
	if testing.Short() {
		t.Skip("needs root and the real kernel: not under -short")
	}
	if os.Geteuid() != 0 {
		t.Fatal("needs root: run as root, or with -short for the unit tests alone")
	}
}
