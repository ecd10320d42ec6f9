package lab_test

import (
	"os"
	"strings"
	"testing"

	"github.com/dynod/dynod/test/lab"
)

// The machine has the swap as long as the lab, whoever closes it.
func TestSwap(t *testing.T) {
	lab.Root(t)
	l, err := lab.Open("swap-test")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	if err := l.Swap(t.Context(), 16); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(swaps(t), l.Dir()+"/swap") {
		t.Errorf("no swap of the lab:\n%s", swaps(t))
	}
	if err := l.Swap(t.Context(), 1<<20); err == nil {
		t.Error("swap without a bound")
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(swaps(t), l.Dir()) {
		t.Errorf("left:\n%s", swaps(t))
	}
}

func swaps(t *testing.T) string {
	t.Helper()
	data, err := os.ReadFile("/proc/swaps")
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}
