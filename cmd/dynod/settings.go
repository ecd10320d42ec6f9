package main

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/prometheus/procfs"
	"golang.org/x/sys/unix"

	"github.com/dynod/dynod/agent"
	"github.com/dynod/dynod/agent/cloud"
	"github.com/dynod/dynod/agent/dyno"
	"github.com/dynod/dynod/cmd/dynod/config"
	"github.com/dynod/dynod/cmd/dynod/doctor"
	"github.com/dynod/dynod/cmd/dynod/resolv"
)

// agentConfig is the agent's share of the settings, with what this host offers.
func agentConfig(cfg config.Config, diskQuota string) (agent.Config, error) {
	memory, swap, err := hostMemory()
	if err != nil {
		return agent.Config{}, err
	}
	bootID, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return agent.Config{}, fmt.Errorf("read boot id: %w", err)
	}
	return agent.Config{
		Host: cfg.HostName, Version: buildVersion(), BootID: strings.TrimSpace(string(bootID)),
		Defaults: defaults(cfg, swap), Slots: cfg.Host.MaxDynos, RestingSlots: cfg.Host.RestingSlots,
		Pool: cfg.Network.Pool, WarmSlots: cfg.Host.WarmSlots, Memory: max(0, memory-cfg.Host.MemoryReserve),
		SampleEvery: cfg.Host.SampleInterval, KeepFinished: cfg.Defaults.KeepFinished, AwaitReports: cfg.Upstream.Address != "", Upstream: cfg.Upstream.Address,
		Keeping: dyno.Keeping{MaxUnused: cfg.Artifacts.MaxUnused, MinFreePercent: cfg.Artifacts.MinFreePercent},
		Resolv:  resolv.Conf(cfg.Network.Nameservers), DiskQuota: diskQuota,
		Warnings: append(doctor.Settings(cfg), doctor.Quotas(cfg, diskQuota)...),
		Reactions: map[cloud.Kind]agent.Reaction{
			cloud.Interruption: agent.Reaction(cfg.Notices.SpotInterruption),
			cloud.Rebalance:    agent.Reaction(cfg.Notices.Rebalance),
			cloud.Maintenance:  agent.Reaction(cfg.Notices.Maintenance),
			cloud.Lifecycle:    agent.Reaction(cfg.Notices.Lifecycle),
		},
	}, nil
}

func defaults(cfg config.Config, swap bool) dyno.Defaults {
	d := dyno.Defaults{
		Sizes: map[string]dyno.Limits{}, Size: cfg.Defaults.Size, Port: cfg.Defaults.Port,
		BootTimeout: cfg.Defaults.BootTimeout, Grace: cfg.Defaults.Grace,
		Restart: dyno.Policy{Delays: cfg.Defaults.CrashDelays, ResetAfter: cfg.Defaults.CrashResetAfter},
		Sources: dyno.Sources{
			Stacks: slices.Sorted(maps.Keys(cfg.Artifacts.Stacks)),
			HTTP:   cfg.Artifacts.AllowHTTPURLs, Files: cfg.Artifacts.AllowFileURLs,
		},
		Policies: slices.DeleteFunc(slices.Sorted(maps.Keys(cfg.Network.Policies)), func(name string) bool { return name == dyno.DefaultPolicy }),
	}
	for name, s := range cfg.Sizes {
		l := dyno.Limits{
			Memory: s.Memory, R15Percent: s.R15Percent, CPUWeight: s.CPUWeight, Pids: s.Pids, Files: s.NoFile, Disk: s.Disk,
			MemoryHigh: s.MemoryHigh, IOWeight: s.IOWeight, IOBytes: uint64(s.IOBandwidth), IOOperations: s.IOOperations,
		}
		if s.Swap && swap {
			l = l.Swapping()
		}
		d.Sizes[name] = l
	}
	return d
}

// hostMemory is the host's memory in bytes and whether it has swap.
func hostMemory() (memory int64, swap bool, err error) {
	proc, err := procfs.NewDefaultFS()
	if err != nil {
		return 0, false, fmt.Errorf("read /proc: %w", err)
	}
	info, err := proc.Meminfo()
	if err != nil {
		return 0, false, fmt.Errorf("read host memory: %w", err)
	}
	if info.MemTotalBytes == nil {
		return 0, false, errors.New("read host memory: /proc/meminfo has no MemTotal")
	}
	return int64(*info.MemTotalBytes), info.SwapTotalBytes != nil && *info.SwapTotalBytes > 0, nil
}

// lockHost makes sure that one agent runs on this host. The lock is the process's own: what a killed agent had just forked does not
// hold it, unlike one of flock(2).
func lockHost(cfg config.Config) (*os.File, error) {
	path := cfg.AgentLock()
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open lock: %w", err)
	}
	if err := unix.FcntlFlock(f.Fd(), unix.F_SETLK, &unix.Flock_t{Type: unix.F_WRLCK}); err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("another dynod agent runs on this host (%s is locked): %w", path, err)
	}
	return f, nil
}
