package logs_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/dynod/dynod/logs"
)

// TestEndlessLine: a line that is longer than agent and capture may become is nothing to them but bytes.
func TestEndlessLine(t *testing.T) {
	r := newReceiver(t)
	h := newHost(t, r, nil)
	id := newID()
	p := h.open(id)
	h.end()
	agent := exec.Command(os.Args[0], "agent", h.cfg.Socket, h.cfg.SpoolDir, serve(t, r))
	agent.Stderr = os.Stderr
	if err := agent.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = agent.Process.Kill(), agent.Wait() })
	const size = 32 << 20
	say := func(text string) {
		t.Helper()
		want := r.sum() + size - logs.MaxLine
		write(t, p.Stdout, strings.Repeat(text, size/len(text)))
		if err := r.reach(h.ctx(), want); err != nil {
			t.Fatal(err)
		}
	}
	say(strings.Repeat("x", 127) + "\n") // they get what they need
	pids := map[string]int{"agent": agent.Process.Pid, "capture": h.capturePid()}
	before := map[string]int64{}
	for name, pid := range pids {
		before[name] = peak(t, pid)
	}
	say("y")
	for name, pid := range pids {
		if grown := peak(t, pid) - before[name]; grown > size/2 {
			t.Errorf("%s: %d MiB, and %d more with the long line", name, before[name]>>20, grown>>20)
		}
	}
}

// peak is how many bytes of memory a process has ever had.
func peak(t *testing.T, pid int) int64 {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	var kb int64
	_, rest, _ := bytes.Cut(b, []byte("VmHWM:"))
	if _, err := fmt.Sscanf(string(rest), "%d kB", &kb); err != nil {
		t.Fatal(err)
	}
	return kb << 10
}
