package config

import (
	"net/netip"
	"time"
)

// firstUID lies above every range that distributions and systemd give away (systemd's documents/UIDS-GIDS), with
// room for 4,094 slots before the next one that is taken.
const firstUID = 1879048192

var defaultBlock = netip.MustParsePrefix("172.16.0.0/12")

// crashDelays is Heroku's schedule, as its dev center describes it.
func crashDelays() []time.Duration {
	return []time.Duration{0, 20 * time.Minute, 40 * time.Minute, time.Hour, 3 * time.Hour, 320 * time.Minute}
}

// Default returns the settings of a host whose configuration says nothing.
func Default() Config {
	c := Config{
		StateDir: "/var/lib/dynod",
		RunDir:   "/run/dynod",
		Log:      Log{Format: "auto"},
		Host:     Host{Cloud: "auto", MaxDynos: 256, RestingSlots: 1024, MemoryReserve: 512 * mib, UserNamespace: "required", FirstUID: firstUID, SampleInterval: 20 * time.Second},
		// A spot instance ends two minutes after its notice: what is still placed there is lost. The other kinds may never
		// come true, or only after days: that is for the control plane to weigh.
		Notices:  Notices{SpotInterruption: "cordon", Rebalance: "report", Maintenance: "report", Lifecycle: "report"},
		API:      API{SocketUIDs: []uint32{0}},
		Upstream: Upstream{Heartbeat: 10 * time.Second},
		Containerd: Containerd{
			Address:      "/run/containerd/containerd.sock",
			Namespace:    "dynod",
			CgroupParent: "/dynos.slice/dynos.service",
			Runtime:      "auto",
			Init:         "/usr/libexec/dynod/dyno-init",
		},
		Network: Network{
			Block: defaultBlock, FirstHostPort: 20000, ClosedPorts: []uint16{25}, Pool: 8,
			Policies: map[string]Policy{"default": {}},
		},
		Artifacts: Artifacts{
			Stacks:           map[string]string{},
			RegistryHostsDir: "/etc/containerd/certs.d",
			MaxSlugBytes:     500 * mib,
			MaxUnpackedBytes: 4 * gib,
			MaxUnused:        14 * 24 * time.Hour,
			MinFreePercent:   10,
		},
		Logs: Logs{
			SpoolBytes: 64 * mib, HostSpoolBytes: 8 * gib, ReserveBytes: 256 * mib, IngestBytesPerSecond: 16 * mib, KeepBytes: mib,
		},
		Defaults: Defaults{
			Size:         "standard-1x",
			Port:         5000,
			BootTimeout:  60 * time.Second,
			Grace:        30 * time.Second,
			KeepFinished: 5 * time.Minute,

			CrashDelays:     crashDelays(),
			CrashResetAfter: 10 * time.Minute,
		},
		Sizes: defaultSizes(),
	}
	return c
}
