package cgroup

import (
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/containerd/cgroups/v3/cgroup1"
	"github.com/containerd/cgroups/v3/cgroup2"
	"github.com/containerd/errdefs"
)

// Usage is what a group uses now.
type Usage struct {
	RSS, Swap, Cache uint64        // bytes
	Limit            uint64        // bytes of memory
	Pids             uint64        // processes and threads
	CPU              time.Duration // since the group was made
}

// Total is the memory that the contract counts, in bytes.
func (u Usage) Total() uint64 { return u.RSS + u.Swap + u.Cache }

// Usage reads the counters; NotFound when the group is gone.
func (g Group) Usage() (Usage, error) {
	read := g.usage1
	if Unified() {
		read = g.usage2
	}
	u, err := read()
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, cgroup1.ErrCgroupDeleted) {
		return Usage{}, fmt.Errorf("read cgroup %s: %w", g, errdefs.ErrNotFound)
	}
	if err != nil {
		return Usage{}, fmt.Errorf("read cgroup %s: %w", g, err)
	}
	return u, nil
}

func (g Group) usage1() (Usage, error) {
	group, err := cgroup1.Load(cgroup1.StaticPath(string(g)), cgroup1.WithHierarchy(counters))
	if err != nil {
		return Usage{}, err
	}
	m, err := group.Stat(cgroup1.IgnoreNotExist)
	if err != nil {
		return Usage{}, err
	}
	memory := m.GetMemory()
	var swap uint64
	if both, alone := memory.GetSwap().GetUsage(), memory.GetUsage().GetUsage(); both > alone {
		swap = both - alone // v1 counts memory and swap together; the two are not read at the same moment
	}
	return Usage{
		RSS:   memory.GetTotalRSS(),
		Swap:  swap,
		Cache: memory.GetTotalCache(),
		Limit: memory.GetUsage().GetLimit(),
		Pids:  m.GetPids().GetCurrent(),
		CPU:   time.Duration(m.GetCPU().GetUsage().GetTotal()),
	}, nil
}

// counters are the hierarchies of v1 that are read.
func counters() ([]cgroup1.Subsystem, error) {
	return []cgroup1.Subsystem{
		cgroup1.NewMemory(mountpoint), cgroup1.NewPids(mountpoint), cgroup1.NewCpuacct(mountpoint),
	}, nil
}

func (g Group) usage2() (Usage, error) {
	group, err := cgroup2.Load(string(g))
	if err != nil {
		return Usage{}, err
	}
	if !g.Exists() {
		return Usage{}, os.ErrNotExist // Stat of a group that is gone is all zeros
	}
	m, err := group.Stat()
	if err != nil {
		return Usage{}, err
	}
	memory := m.GetMemory()
	return Usage{
		RSS:   memory.GetAnon(),
		Swap:  memory.GetSwapUsage(),
		Cache: memory.GetFile(),
		Limit: memory.GetUsageLimit(),
		Pids:  m.GetPids().GetCurrent(),
		CPU:   time.Duration(m.GetCPU().GetUsageUsec()) * time.Microsecond,
	}, nil
}
