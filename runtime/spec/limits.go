package spec

import (
	"fmt"
	"strconv"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// cpuPeriod is the span in microseconds over which a CPU ceiling is counted, the kernel's default.
const cpuPeriod = 100_000

// Limits is what a dyno may use. Zero means no limit of that kind.
type Limits struct {
	Memory     int64  // bytes
	MemoryHigh int64  // bytes above which it is slowed down and its memory taken back; cgroup v2 only
	Swap       int64  // bytes on top of Memory; zero is none
	CPUWeight  uint64 // 1..10000, the scale of cgroup v2, where 100 is the default
	CPUMilli   int64  // ceiling in thousandths of a CPU
	Pids       int64  // processes and threads
	IO         IO
	Unified    bool // the host has cgroup v2 alone
	NoSwap     bool // the kernel does not count swap, so it cannot be limited
}

// IO is what a dyno may ask of the disk that holds its files.
type IO struct {
	Weight     uint64 // 1..10000 where 100 is the default; cgroup v2 only
	Bytes      uint64 // a second, read, and as many written
	Operations uint64 // a second, reads, and as many writes
	Major      int64  // of the disk
	Minor      int64
}

func (l Limits) resources() *specs.LinuxResources {
	r := &specs.LinuxResources{Devices: []specs.LinuxDeviceCgroup{{Allow: false, Access: "rwm"}}}
	if l.Memory > 0 {
		r.Memory = l.memory()
	}
	if l.CPUWeight > 0 || l.CPUMilli > 0 {
		r.CPU = l.cpu()
	}
	if l.Pids > 0 {
		r.Pids = &specs.LinuxPids{Limit: &l.Pids}
	}
	if l.IO.Bytes > 0 || l.IO.Operations > 0 {
		r.BlockIO = l.IO.throttle()
	}
	if l.Unified {
		r.Unified = l.unified()
	}
	return r
}

func (l Limits) memory() *specs.LinuxMemory {
	m := &specs.LinuxMemory{Limit: &l.Memory}
	if !l.NoSwap {
		both := l.Memory + l.Swap // the specification counts memory and swap together
		m.Swap = &both
	}
	return m
}

func (l Limits) cpu() *specs.LinuxCPU {
	c := &specs.LinuxCPU{}
	if l.CPUWeight > 0 && !l.Unified {
		shares := Shares(l.CPUWeight)
		c.Shares = &shares
	}
	if l.CPUMilli > 0 {
		quota, period := l.CPUMilli*cpuPeriod/1000, uint64(cpuPeriod)
		c.Quota, c.Period = &quota, &period
	}
	return c
}

func (io IO) throttle() *specs.LinuxBlockIO {
	bytes, operations := io.rate(io.Bytes), io.rate(io.Operations)
	return &specs.LinuxBlockIO{
		ThrottleReadBpsDevice: bytes, ThrottleWriteBpsDevice: bytes,
		ThrottleReadIOPSDevice: operations, ThrottleWriteIOPSDevice: operations,
	}
}

func (io IO) rate(most uint64) []specs.LinuxThrottleDevice {
	if most == 0 {
		return nil
	}
	d := specs.LinuxThrottleDevice{Rate: most}
	d.Major, d.Minor = io.Major, io.Minor
	return []specs.LinuxThrottleDevice{d}
}

// File is a file of a control group and what to write into it.
type File struct{ Controller, Name, Value string }

// Files are the limits as the kernel takes them, in the order in which they can be written over those that Waiting makes.
// What they leave out is the kernel's default.
func (l Limits) Files() []File {
	if l.Unified {
		return l.files2()
	}
	return l.files1()
}

// files1 lifts the limit of memory and swap together first: it may never be below that of memory.
func (l Limits) files1() (files []File) {
	add := func(controller, name, value string) {
		files = append(files, File{controller, controller + "." + name, value})
	}
	if !l.NoSwap {
		add("memory", "memsw.limit_in_bytes", "-1")
	}
	add("memory", "limit_in_bytes", bytes(l.Memory, "-1"))
	if !l.NoSwap && l.Memory > 0 {
		add("memory", "memsw.limit_in_bytes", bytes(l.Memory+l.Swap, "-1"))
	}
	add("pids", "max", bytes(l.Pids, "max"))
	if l.CPUWeight > 0 {
		add("cpu", "shares", strconv.FormatUint(Shares(l.CPUWeight), 10))
	}
	if l.CPUMilli > 0 {
		add("cpu", "cfs_period_us", strconv.Itoa(cpuPeriod))
		add("cpu", "cfs_quota_us", strconv.FormatInt(l.CPUMilli*cpuPeriod/1000, 10))
	}
	for _, way := range []string{"read", "write"} {
		if l.IO.Bytes > 0 {
			add("blkio", "throttle."+way+"_bps_device", fmt.Sprintf("%d:%d %d", l.IO.Major, l.IO.Minor, l.IO.Bytes))
		}
		if l.IO.Operations > 0 {
			add("blkio", "throttle."+way+"_iops_device", fmt.Sprintf("%d:%d %d", l.IO.Major, l.IO.Minor, l.IO.Operations))
		}
	}
	return files
}

func (l Limits) files2() []File {
	swap := "max"
	if l.Memory > 0 {
		swap = strconv.FormatInt(l.Swap, 10)
	}
	files := []File{{Name: "memory.max", Value: bytes(l.Memory, "max")}, {Name: "pids.max", Value: bytes(l.Pids, "max")}}
	if !l.NoSwap {
		files = append(files, File{Name: "memory.swap.max", Value: swap})
	}
	for name, value := range l.unified() {
		files = append(files, File{Name: name, Value: value})
	}
	if l.CPUMilli > 0 {
		files = append(files, File{Name: "cpu.max", Value: fmt.Sprintf("%d %d", l.CPUMilli*cpuPeriod/1000, cpuPeriod)})
	}
	if rates := l.IO.rates(); rates != "" {
		files = append(files, File{Name: "io.max", Value: fmt.Sprintf("%d:%d%s", l.IO.Major, l.IO.Minor, rates)})
	}
	return files
}

func (io IO) rates() (text string) {
	if io.Bytes > 0 {
		text += fmt.Sprintf(" rbps=%d wbps=%d", io.Bytes, io.Bytes)
	}
	if io.Operations > 0 {
		text += fmt.Sprintf(" riops=%d wiops=%d", io.Operations, io.Operations)
	}
	return text
}

// bytes is a limit, or what the kernel takes for none.
func bytes(limit int64, none string) string {
	if limit == 0 {
		return none
	}
	return strconv.FormatInt(limit, 10)
}

// unified names what only cgroup v2 has: exact weights, the high mark, and that running out of memory ends the whole dyno.
func (l Limits) unified() map[string]string {
	files := map[string]string{"memory.oom.group": "1"}
	if l.CPUWeight > 0 {
		files["cpu.weight"] = strconv.FormatUint(l.CPUWeight, 10)
	}
	if l.IO.Weight > 0 {
		files["io.weight"] = strconv.FormatUint(l.IO.Weight, 10)
	}
	if l.MemoryHigh > 0 {
		files["memory.high"] = strconv.FormatInt(l.MemoryHigh, 10)
	}
	return files
}

// Shares turns a weight into the cpu.shares of cgroup v1, along the straight line between both ends of both scales
// (1..10000 and 2..262144) that the OCI runtimes use in the other direction. So weights keep their proportions.
func Shares(weight uint64) uint64 {
	weight = min(max(weight, 1), 10_000)
	return 2 + (weight-1)*262_142/9_999
}
