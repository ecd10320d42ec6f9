package cgroup

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"
)

// Usage is what a group uses now. A page is in one of RSS, Swap and Cache.
type Usage struct {
	RSS               uint64 // bytes that only swap could make room for: anonymous and shared memory
	Swap              uint64 // bytes in swap
	Cache             uint64 // bytes of files
	Limit             uint64 // bytes of memory
	PagesIn, PagesOut uint64 // charged and given back since the group was made; 0 on v2, which does not count them
	Pids              uint64 // processes and threads
	CPU               time.Duration
	Pressure          Pressure
}

// Pressure is for how much of the last ten seconds something of the group had to wait for each, percent (PSI, some
// avg10). All zero on v1 and where the kernel does not say.
type Pressure struct{ CPU, Memory, IO float64 }

// Total is the memory that the contract counts, in bytes.
func (u Usage) Total() uint64 { return u.RSS + u.Swap + u.Cache }

// Usage reads the counters; NotFound when the group is gone.
func (g Group) Usage() (Usage, error) {
	read := g.usage1
	if g.tree.Unified {
		read = g.usage2
	}
	u, err := read()
	if err != nil {
		return Usage{}, fmt.Errorf("read cgroup %s: %w", g, err)
	}
	return u, nil
}

// usage1 takes the sums over the group and those below it. A page that is in swap and in memory counts there as memory,
// but as nothing while no process has it mapped; the charge has it.
func (g Group) usage1() (Usage, error) {
	memory, err := table(g.file("memory", "memory.stat"))
	if err != nil {
		return Usage{}, err
	}
	charged, errCharged := number(g.file("memory", "memory.usage_in_bytes"))
	limit, errLimit := number(g.file("memory", "memory.limit_in_bytes"))
	pids, errPids := number(g.file("pids", "pids.current"))
	cpu, errCPU := number(g.file("cpuacct", "cpuacct.usage"))
	unmapped := min(memory["total_swapcached"], minus(charged, memory["total_rss"]+memory["total_cache"]))
	return Usage{
		RSS:     memory["total_rss"] + memory["total_shmem"] + unmapped,
		Swap:    memory["total_swap"],
		Cache:   minus(memory["total_cache"], memory["total_shmem"]),
		Limit:   limit,
		PagesIn: memory["total_pgpgin"], PagesOut: memory["total_pgpgout"],
		Pids: pids,
		CPU:  time.Duration(cpu),
	}, errors.Join(errCharged, errLimit, errPids, errCPU)
}

// usage2: a page that is in swap and in memory counts there as both.
func (g Group) usage2() (Usage, error) {
	memory, err := table(g.file("", "memory.stat"))
	if err != nil {
		return Usage{}, err
	}
	swap, err := number(g.file("", "memory.swap.current"))
	if err != nil && !errdefs.IsNotFound(err) { // a kernel without swap
		return Usage{}, err
	}
	limit, errLimit := number(g.file("", "memory.max"))
	pids, errPids := number(g.file("", "pids.current"))
	cpu, errCPU := table(g.file("", "cpu.stat"))
	return Usage{
		RSS:   memory["anon"] + memory["shmem"],
		Swap:  minus(swap, memory["swapcached"]),
		Cache: minus(memory["file"], memory["shmem"]),
		Limit: limit,
		Pids:  pids,
		CPU:   time.Duration(cpu["usage_usec"]) * time.Microsecond,

		Pressure: Pressure{CPU: g.waited("cpu"), Memory: g.waited("memory"), IO: g.waited("io")},
	}, errors.Join(errLimit, errPids, errCPU)
}

func (g Group) waited(what string) (percent float64) {
	text, _ := read(g.file("", what+".pressure"))
	_, _ = fmt.Sscanf(text, "some avg10=%f", &percent) // switched off, there is no text
	return percent
}

// file is the path of one file of the group; v2 has no controllers of their own place.
func (g Group) file(controller, name string) string {
	if g.tree.Unified {
		controller = ""
	}
	return filepath.Join(g.tree.Root, controller, g.path, name)
}

// number reads a file that holds one; "max" is the largest.
func number(path string) (uint64, error) {
	text, err := read(path)
	if err != nil {
		return 0, err
	}
	if text = strings.TrimSpace(text); text == "max" {
		return math.MaxUint64, nil
	}
	return strconv.ParseUint(text, 10, 64)
}

// table reads a file of lines "name number"; other lines are left out.
func table(path string) (map[string]uint64, error) {
	text, err := read(path)
	if err != nil {
		return nil, err
	}
	rows := map[string]uint64{}
	for line := range strings.Lines(text) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		if n, err := strconv.ParseUint(value, 10, 64); err == nil {
			rows[name] = n
		}
	}
	return rows, nil
}

// read is NotFound when the group is gone.
func read(path string) (string, error) {
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENODEV) {
		return "", fmt.Errorf("%w: %w", errdefs.ErrNotFound, err)
	}
	return string(data), err
}

// minus is never below 0: the kernel's counters are not all of one moment.
func minus(a, b uint64) uint64 { return a - min(a, b) }
