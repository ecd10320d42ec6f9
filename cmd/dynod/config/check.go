package config

import (
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// socketPath is the longest path that the kernel binds a unix socket to, in bytes.
const socketPath = 107

// maxDelays is how long a schedule of restarts may be, as in an order.
const maxDelays = 100

// reserved can never be addresses of dynos.
var reserved = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"),
	netip.MustParsePrefix("127.0.0.0/8"),
	netip.MustParsePrefix("169.254.0.0/16"),
	netip.MustParsePrefix("224.0.0.0/3"),
}

// check applies the rules that concern more than one setting.
func (l *loader) check() {
	l.checkPlaces()
	l.checkSlots()
	l.checkDoors()
	l.checkOrders()
}

// refuse names a setting, its value in force and where that came from.
func (l *loader) refuse(key, format string, args ...any) {
	s := l.rows[key]
	where := s.from
	if where == "" {
		where = "default"
	}
	l.problem("%s: %s = %s: %s", where, key, s.value.toml(), fmt.Sprintf(format, args...))
}

func (l *loader) checkPlaces() {
	for _, key := range []string{"state_dir", "run_dir", "containerd.address", "containerd.init"} {
		if l.rows[key].value.toml() == `""` {
			l.refuse(key, "must be an absolute path")
		}
	}
	if len(l.cfg.API.Socket) > socketPath {
		l.refuse("api.socket", "must be at most %d bytes, the longest path of a unix socket", socketPath)
	}
	if len(l.cfg.CaptureSocket()) > socketPath {
		l.refuse("run_dir", "must be short enough that capture.sock in it is at most %d bytes, the longest path of a unix socket", socketPath)
	}
}

// checkSlots looks whether there is one of everything for every slot.
func (l *loader) checkSlots() {
	slots := l.cfg.Slots()
	if room := 1 << (30 - l.cfg.Network.Block.Bits()); slots > room {
		l.refuse("network.block", "has room for %d dynos, fewer than host.max_dynos + host.resting_slots = %d", room, slots)
	}
	for _, r := range reserved {
		if r.Overlaps(l.cfg.Network.Block) {
			l.refuse("network.block", "must not overlap %s", r)
		}
	}
	if last := int(l.cfg.Network.FirstHostPort) + slots - 1; last > 65535 {
		l.refuse("network.first_host_port", "leaves %d ports, fewer than host.max_dynos + host.resting_slots = %d", 65536-int(l.cfg.Network.FirstHostPort), slots)
	}
	if last := int64(l.cfg.Host.FirstUID) + int64(slots)<<16; last >= 1<<32 {
		l.refuse("host.first_uid", "leaves too few ids for host.max_dynos + host.resting_slots = %d times 65536", slots)
	}
}

func (l *loader) checkDoors() {
	api, up := l.cfg.API, l.cfg.Upstream
	if api.Listen != "" {
		l.require("api.listen", "api.cert", "api.key", "api.ca", "api.allowed_clients")
	}
	l.checkPort("api.listen", api.Listen)
	l.checkPort("metrics.listen", l.cfg.Metrics.Listen)
	if slices.Contains(l.cfg.Network.HostPorts, portOf(l.cfg.Metrics.Listen)) {
		l.refuse("metrics.listen", "its port is one of network.host_ports, which dynos reach")
	}
	if up.Address != "" && !strings.HasPrefix(up.Address, unixScheme) {
		l.require("upstream.address", "upstream.cert", "upstream.key", "upstream.ca")
	}
}

// checkPort refuses a port that the host's table takes to a dyno before a process of the host sees it.
func (l *loader) checkPort(key, address string) {
	port, first := int(portOf(address)), int(l.cfg.Network.FirstHostPort)
	if last := first + l.cfg.Slots() - 1; first <= port && port <= last {
		l.refuse(key, "its port leads to dynos, as %d to %d do: move it, or network.first_host_port", first, last)
	}
}

// portOf is the port of an address that its codec has let through; 0 without one.
func portOf(address string) uint16 {
	_, text, _ := net.SplitHostPort(address)
	port, _ := strconv.ParseUint(text, 10, 16)
	return uint16(port)
}

// require refuses a setting that works only together with others.
func (l *loader) require(key string, others ...string) {
	for _, other := range others {
		if empty := l.rows[other].value.toml(); empty == `""` || empty == "[]" {
			l.refuse(key, "needs %s as well", other)
		}
	}
}

func (l *loader) checkOrders() {
	if l.cfg.Logs.KeepBytes > l.cfg.Logs.SpoolBytes/2 {
		l.refuse("logs.keep_bytes", "must be at most half of logs.spool_bytes = %s", l.rows["logs.spool_bytes"].value.toml())
	}
	if n := len(l.cfg.Defaults.CrashDelays); n == 0 || n > maxDelays {
		l.refuse("defaults.crash_delays", "must have 1 to %d items", maxDelays)
	}
	if _, ok := l.cfg.Sizes[l.cfg.Defaults.Size]; !ok {
		l.refuse("defaults.size", "must be one of the sizes: %s", strings.Join(slices.Sorted(maps.Keys(l.cfg.Sizes)), ", "))
	}
	for _, name := range slices.Sorted(maps.Keys(l.sizes)) {
		if l.sizes[name].Memory == 0 {
			l.problem("sizes.%s.memory: a size of your own needs it", name)
		}
		if disk := l.sizes[name].Disk; disk > 0 && disk < mib {
			l.problem("sizes.%s.disk: must be 0 or at least 1MiB", name)
		}
	}
}
