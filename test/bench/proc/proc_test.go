package proc_test

import (
	"os"
	"testing"

	"github.com/dynod/dynod/test/bench/proc"
)

func TestOwnProcess(t *testing.T) {
	const size = 64 << 20
	before, err := proc.Memory(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	held := make([]byte, size)
	for i := range held {
		held[i] = byte(i)
	}
	after, err := proc.Memory(os.Getpid())
	if err != nil || after-before < size*3/4 {
		t.Errorf("%d bytes taken, memory went from %d to %d: %v", len(held), before, after, err)
	}
	if used, err := proc.CPU(os.Getpid()); err != nil || used <= 0 {
		t.Errorf("CPU %v: %v", used, err)
	}
	if name := proc.Name(os.Getpid()); name == "" {
		t.Error("no name")
	}
}

func TestGoneProcess(t *testing.T) {
	const none = 1<<22 + 1 // no process number is so high
	cpu, errCPU := proc.CPU(none)
	memory, errMemory := proc.Memory(none)
	if cpu != 0 || memory != 0 || errCPU != nil || errMemory != nil || proc.Name(none) != "" {
		t.Errorf("%v %v %d %v", cpu, errCPU, memory, errMemory)
	}
}

func TestKernel(t *testing.T) {
	if n, err := proc.Kernel(); err != nil || n < 1<<20 {
		t.Errorf("%d: %v", n, err)
	}
	if n, err := proc.FreeSlab(); err != nil || n <= 0 || n > 1<<30 {
		t.Errorf("%d free in slabs: %v", n, err)
	}
}
