package spec

import (
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
