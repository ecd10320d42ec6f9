package config

import (
	"log/slog"
	"net/netip"
	"path/filepath"
	"time"
)

// Config is every setting of dynod, complete and checked when it comes from Load. What a field means, its unit and
// its bounds stand in the table of settings.go.
type Config struct {
	HostName string
	StateDir string
	RunDir   string
	SpoolDir string

	Log        Log
	Host       Host
	Notices    Notices
	API        API
	Upstream   Upstream
	Metrics    Metrics
	Containerd Containerd
	Network    Network
	Artifacts  Artifacts
	Logs       Logs
	Attach     Attach
	Defaults   Defaults
	Sizes      map[string]Size
}

// Log says how dynod's own log looks.
type Log struct {
	Level  slog.Level
	Format string // auto, text, json or journal
}

// Host says how much of the host dynos may have.
type Host struct {
	Cloud          string // auto, ec2 or none
	MaxDynos       int
	RestingSlots   int
	WarmSlots      int
	MemoryReserve  int64  // bytes
	UserNamespace  string // required or off
	SampleInterval time.Duration
	FirstUID       uint32
}

// Notices says what the agent does about notices of the cloud provider: report, cordon or drain.
type Notices struct {
	SpotInterruption string
	Rebalance        string
	Maintenance      string
	Lifecycle        string
}

// API is the agent's own gRPC service.
type API struct {
	Socket         string
	SocketUIDs     []uint32
	Listen         string // empty: no TCP
	Cert, Key, CA  string
	AllowedClients []string
}

// Upstream is the control plane that the agent reports to.
type Upstream struct {
	Address       string // empty: none
	Cert, Key, CA string
	ServerName    string
	Heartbeat     time.Duration
}

// Metrics says where the agent's metrics are served.
type Metrics struct {
	Listen string // empty: nowhere but by the API
}

// Containerd says which containerd runs the dynos, and how.
type Containerd struct {
	Address      string
	Namespace    string
	CgroupParent string
	Runtime      string // auto, runc or crun
	Init         string
}

// Network says which addresses and ports dynos get, and what is closed to them.
type Network struct {
	Block            netip.Prefix
	FirstHostPort    uint16
	ListenInterfaces []string // empty: all
	Routed           bool
	ClosedPorts      []uint16
	HostPorts        []uint16
	Nameservers      []netip.Addr
	Pool             int
	Policies         map[string]Policy
}

// Policy says what dynos reach outside.
type Policy struct{ Allow, Deny []Destination }

// Destination is a network, and a TCP and UDP port or 0.
type Destination struct {
	Prefix netip.Prefix
	Port   uint16
}

// Artifacts says what dynos may be made of and where it comes from.
type Artifacts struct {
	Stacks              map[string]string
	AllowFileURLs       bool
	AllowHTTPURLs       bool
	PlainHTTPRegistries []string
	RegistryHostsDir    string
	MaxSlugBytes        int64
	MaxUnpackedBytes    int64
	MaxUnused           time.Duration
	MinFreePercent      int
}

// Logs is how the dynos' output is kept and handed on.
type Logs struct {
	SpoolBytes           int64
	HostSpoolBytes       int64 // 0: no bound
	ReserveBytes         int64
	IngestBytesPerSecond int64 // 0: no bound
	KeepBytes            int64
	SinkCA               string
}

// Attach says how agent and clients of attached dynos meet.
type Attach struct {
	RendezvousCA string // empty: the system's authorities alone
}

// Defaults hold for an order that does not say otherwise.
type Defaults struct {
	Size            string
	Port            uint16
	BootTimeout     time.Duration
	Grace           time.Duration
	KeepFinished    time.Duration
	CrashDelays     []time.Duration
	CrashResetAfter time.Duration
}

// Size is what a dyno of one size may use.
type Size struct {
	Memory     int64 // bytes
	Swap       bool
	R15Percent int64
	CPUWeight  uint64
	Pids       int64
	NoFile     uint64
	Disk       int64 // bytes; 0: no quota

	MemoryHigh   int64  // percent of Memory; 0: none
	IOWeight     uint64 // 0: the kernel's default
	IOBandwidth  int64  // bytes a second; 0: no limit
	IOOperations uint64 // a second; 0: no limit

	Bandwidth      int64 // bytes a second
	Connections    uint32
	ConnectionRate uint32 // a second
}

// Slots is how many slots there are: one for each dyno, and those that rest.
func (c Config) Slots() int { return c.Host.MaxDynos + c.Host.RestingSlots }

// AgentLock is the file that an agent keeps locked while it runs.
func (c Config) AgentLock() string { return filepath.Join(c.RunDir, "agent.lock") }

// CaptureSocket is the path on which dynod capture listens.
func (c Config) CaptureSocket() string { return filepath.Join(c.RunDir, "capture.sock") }
