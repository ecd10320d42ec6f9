package capture_test

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"golang.org/x/sys/unix"

	"github.com/dynod/dynod/logs/capture"
	"github.com/dynod/dynod/logs/spool"
)

// cpuTime is what a process has used, of the kernel too.
func cpuTime(t testing.TB, pid int) time.Duration {
	t.Helper()
	var sum int64
	threads, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
	for _, path := range threads {
		b, err := os.ReadFile(path)
		var ns int64
		if err == nil {
			_, err = fmt.Sscan(string(b), &ns)
		}
		if err != nil {
			t.Fatal(err)
		}
		sum += ns
	}
	return time.Duration(sum)
}

// echo gives what times a byte to another process and back.
func echo(t *testing.T) func() time.Duration {
	t.Helper()
	cat := exec.Command("cat")
	in, err := cat.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cat.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cat.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = in.Close(), cat.Wait() })
	return func() time.Duration {
		began, b := time.Now(), []byte{'\n'}
		if _, err := in.Write(b); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(out, b); err != nil {
			t.Fatal(err)
		}
		return time.Since(began)
	}
}

// TestLineIsToldSoon measures from the write of a quiet dyno's line until the agent is told, alone and beside a dyno
// that floods.
func TestLineIsToldSoon(t *testing.T) {
	for _, name := range []string{"alone", "beside a flood"} {
		t.Run(name, func(t *testing.T) {
			cfg := configured(t, func(c *capture.Config) { c.SpoolBytes = 8 << 20 })
			p := spawn(t, cfg, nil)
			c, changes := p.dial()
			if name != "alone" {
				f := flood(t, c)
				defer func() { f.end(); _ = unix.Close(f.errs) }()
			}
			id := uuid.NewString()
			out, errs := begin(t, c, id)
			defer func() { _, _ = unix.Close(out), unix.Close(errs) }()
			cry := echo(t)
			var took, echoes []time.Duration
			for i := range 100 {
				time.Sleep(15 * time.Millisecond) // it is a quiet one
				echoes = append(echoes, cry())
				began := time.Now()
				if _, err := unix.Write(out, []byte("a quiet dyno's line\n")); err != nil {
					t.Fatal(err)
				}
				until(t, changes, func(e capture.Entry) bool { return e.ID == id && e.Stream == spool.Stdout && e.End == int64(20*(i+1)) })
				took = append(took, time.Since(began))
			}
			slices.Sort(took)
			slices.Sort(echoes)
			t.Logf("half within %v, 9 of 10 within %v, all within %v; an echo: %v", took[50], took[90], took[99], echoes[50])
			// 1 ms is usual, but this machine may be busy. Then an echo takes its time too.
			if took[50] > 50*time.Millisecond+20*echoes[50] {
				t.Errorf("a line is told after %v, an echo comes after %v", took[50], echoes[50])
			}
		})
	}
}

// TestWakeUps: a dyno that writes all the time wakes capture at most about once a millisecond.
func TestWakeUps(t *testing.T) {
	cfg := configured(t, func(c *capture.Config) { c.SpoolBytes = 1 << 30 })
	p := spawn(t, cfg, nil)
	c, _ := p.dial()
	id := uuid.NewString()
	out, errs := begin(t, c, id)
	defer func() { _, _ = unix.Close(out), unix.Close(errs) }()
	began, line := time.Now(), []byte(strings.Repeat("x", 99)+"\n")
	var written int64
	for time.Since(began) < time.Second {
		n, err := unix.Write(out, line)
		if err != nil {
			t.Fatal(err)
		}
		written += int64(n)
	}
	dyno := filepath.Join(cfg.SpoolDir, id)
	waitFor(t, "all bytes", func() bool {
		tail, err := spool.Tail(dyno, spool.Stdout)
		return err == nil && tail == written
	})
	var marks int64 // one for each time that bytes were moved
	files, _ := filepath.Glob(filepath.Join(spool.Dir(dyno, spool.Stdout), "*.t"))
	for _, f := range files {
		if fi, err := os.Stat(f); err == nil {
			marks += fi.Size() / spool.MarkSize
		}
	}
	if rounds := int64(time.Since(began)/time.Millisecond) + 1; marks > rounds+int64(2*len(files)) {
		t.Errorf("%d moves in %d milliseconds", marks, rounds)
	}
	took := time.Since(began)
	t.Logf("%d writes of %d MB, %d moves in %v, %v of CPU", written/int64(len(line)), written/1e6, marks, took, cpuTime(t, p.cmd.Process.Pid))
}

// settled waits until so many bytes are in the spool.
func settled(b *testing.B, cfg capture.Config, id string, want int64) {
	waitFor(b, "all bytes", func() bool {
		tail, err := spool.Tail(filepath.Join(cfg.SpoolDir, id), spool.Stdout)
		return err == nil && tail >= want
	})
}

// BenchmarkCPU tells what a capture uses for each megabyte of lines of 100 bytes, from one dyno and from many in turn.
func BenchmarkCPU(b *testing.B) {
	for _, dynos := range []int{1, 100} {
		b.Run(strconv.Itoa(dynos), func(b *testing.B) {
			cfg := configured(b, func(c *capture.Config) { c.SpoolBytes = 1 << 40 })
			p := spawn(b, cfg, nil)
			c, _ := p.dial()
			ids, pipes := make([]string, dynos), make([]int, dynos)
			for i := range dynos {
				ids[i] = uuid.NewString()
				pipes[i], _ = begin(b, c, ids[i])
			}
			line := []byte(strings.Repeat("x", 99) + "\n")
			before := cpuTime(b, p.cmd.Process.Pid)
			b.ResetTimer()
			for i := range b.N {
				if _, err := unix.Write(pipes[i%dynos], line); err != nil {
					b.Fatal(err)
				}
			}
			for i, id := range ids {
				_ = unix.Close(pipes[i])
				settled(b, cfg, id, int64(len(line))*int64((b.N-i+dynos-1)/dynos))
			}
			used := cpuTime(b, p.cmd.Process.Pid) - before
			b.ReportMetric(float64(used.Microseconds())/(float64(b.N*len(line))/1e6), "cpu-µs/MB")
		})
	}
}
