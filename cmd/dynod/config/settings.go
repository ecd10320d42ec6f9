package config

import (
	"slices"
	"strings"
	"time"
)

// setting is one row of the table: a key, where its value lives and what it means.
type setting struct {
	key   string // "section.key", or "key" at the top of the file
	value value
	doc   string
	live  bool   // read again on SIGHUP; others need a restart of the agent
	from  string // source of the value in force, empty for the default
}

// env is the setting's environment variable; those of sizes and policies have none, they come from files only.
func (s *setting) env() string {
	if strings.HasPrefix(s.key, "sizes.") || strings.HasPrefix(s.key, "network.policies.") {
		return ""
	}
	return "DYNOD_" + strings.ToUpper(strings.ReplaceAll(s.key, ".", "_"))
}

// usage is doc, with the bounds where there are some.
func (s *setting) usage() string {
	kind, allowed := s.value.kind(), s.value.allowed()
	if _, bounds, ok := strings.Cut(allowed, kind+", "); ok {
		return strings.TrimSuffix(s.doc, ".") + " (" + bounds + ")."
	}
	return s.doc
}

// section is the part of the key before its last dot.
func (s *setting) section() string { return s.key[:max(0, strings.LastIndexByte(s.key, '.'))] }

// name is the part of the key after its last dot.
func (s *setting) name() string { return s.key[strings.LastIndexByte(s.key, '.')+1:] }

// sections explains each [section] in the default file and in the reference, in their order.
var sections = []struct{ name, doc string }{
	{"", "Where things are."},
	{"log", "dynod's own log, on standard error."},
	{"host", "How much of the host dynos may have."},
	{"notices", "What a notice of the cloud provider does, besides being reported. cordon: starts are refused until an order to uncordon. drain: every dyno is stopped too."},
	{"api", "The service for orders and questions: a unix socket, and TCP with TLS 1.3 and client certificates."},
	{"upstream", "The control plane that hears about this host and its dynos."},
	{"metrics", "The agent's metrics for Prometheus, which dynoctl metrics shows as well."},
	{"containerd", "The containerd that runs the dynos."},
	{"network", "Addresses and ports of dynos, and what they reach. IPv4 only."},
	{"network.policies", "What dynos reach outside, by name; orders choose. The policy default is for those that do not, and open as it comes."},
	{"artifacts", "What dynos are made of."},
	{"logs", "Output of dynos on its way to the control plane."},
	{"attach", "Clients of attached one-off dynos."},
	{"defaults", "For orders that do not say otherwise."},
	{"sizes", "Sizes by name. Set single keys of a size, or add a size of your own: its memory is then required."},
}

// settings is the table of everything but the sizes.
func (c *Config) settings() []*setting {
	return slices.Concat(c.placeSettings(), c.doorSettings(), c.dynoSettings())
}

func (c *Config) placeSettings() []*setting {
	return []*setting{
		{key: "host_name", value: scalarOf(&c.HostName, hostCodec), doc: "Name of this host in reports. Empty: the kernel's host name."},
		{key: "state_dir", value: path(&c.StateDir), doc: "What must survive a reboot: records of dynos, slugs, root file systems."},
		{key: "run_dir", value: path(&c.RunDir), doc: "Sockets, namespaces and launch plans, which hold secrets: must be on a tmpfs."},
		{key: "spool_dir", value: path(&c.SpoolDir), doc: "Output of dynos until it is delivered. Empty: spool in state_dir."},

		{key: "log.level", value: level(&c.Log.Level), doc: "Least level that is written.", live: true},
		{key: "log.format", value: oneOf(&c.Log.Format, "auto", "text", "json", "journal"), doc: "Format of a line. auto: journal under systemd, text on a terminal, otherwise json."},

		{key: "host.cloud", value: oneOf(&c.Host.Cloud, "auto", "ec2", "none"), doc: "Whose instance metadata is read. auto: EC2's, if the firmware says that this is an EC2 instance; otherwise no packet is sent."},
		{key: "host.max_dynos", value: whole(&c.Host.MaxDynos, 1, 16384), doc: "Most dynos that live here at once. Each takes a slot: address, host port, range of ids."},
		{key: "host.resting_slots", value: whole(&c.Host.RestingSlots, 0, 49152), doc: "Slots beyond max_dynos: one that a dyno has left rests 30 s before the next gets it."},
		{key: "host.warm_slots", value: whole(&c.Host.WarmSlots, 0, 256), doc: "Sandboxes made ahead of orders for slugs, on the stack that was ordered last; busy times make it up to 4 times as many. Each takes 2 MiB of the memory for dynos. 0: none. Under systemd they need the drop-in /usr/share/dynod/dynod.service.d/warm-slots.conf."},
		{key: "host.memory_reserve", value: bytes(&c.Host.MemoryReserve, 0, 1<<40), doc: "Memory that is never promised to dynos, for the system and dynod."},
		{key: "host.sample_interval", value: duration(&c.Host.SampleInterval, 100*time.Millisecond, time.Hour), doc: "Time between two looks at a dyno's memory: R14, R15 and runtime metrics.", live: true},
		{key: "host.user_namespace", value: oneOf(&c.Host.UserNamespace, "required", "off"), doc: "required: each dyno has 65536 user ids of its own. off: a weaker wall, for kernels before 5.19."},
		{key: "host.first_uid", value: whole(&c.Host.FirstUID, 65536, 1<<32-65537), doc: "First host user and group id of slot 0; every slot takes the next 65536."},

		{key: "notices.spot_interruption", value: reaction(&c.Notices.SpotInterruption), doc: "The spot instance is taken back in two minutes.", live: true},
		{key: "notices.rebalance", value: reaction(&c.Notices.Rebalance), doc: "The spot instance may be taken back soon.", live: true},
		{key: "notices.maintenance", value: reaction(&c.Notices.Maintenance), doc: "A reboot, a retirement or other maintenance of the instance is scheduled, perhaps in weeks.", live: true},
		{key: "notices.lifecycle", value: reaction(&c.Notices.Lifecycle), doc: "The Auto Scaling group wants the instance in another state than InService.", live: true},
	}
}

func reaction(to *string) value { return oneOf(to, "report", "cordon", "drain") }

func (c *Config) doorSettings() []*setting {
	return []*setting{
		{key: "api.socket", value: path(&c.API.Socket), doc: "Unix socket of the service; dynod.socket has to name the same. Empty: dynod.sock in run_dir."},
		{key: "api.socket_uids", value: list(&c.API.SocketUIDs, wholeOf[uint32](0, 1<<32-2)), doc: "User ids that may use the socket.", live: true},
		{key: "api.listen", value: scalarOf(&c.API.Listen, listenCodec), doc: "Address and port of the service, such as 0.0.0.0:7070. It has up to 512 connections; those beyond wait. Empty: none."},
		{key: "api.cert", value: path(&c.API.Cert), doc: "Certificate of the service, PEM. Read again when it changes, as all certificates are.", live: true},
		{key: "api.key", value: path(&c.API.Key), doc: "Its key, PEM.", live: true},
		{key: "api.ca", value: path(&c.API.CA), doc: "Authorities that client certificates must come from, PEM.", live: true},
		{key: "api.allowed_clients", value: list(&c.API.AllowedClients, wordCodec), doc: "Clients that may give orders: DNS name, URI or common name of their certificates.", live: true},

		{key: "upstream.address", value: scalarOf(&c.Upstream.Address, dialCodec), doc: "host:port of the control plane, or unix:///path. Empty: none; nothing is reported or shipped."},
		{key: "upstream.cert", value: path(&c.Upstream.Cert), doc: "Certificate that the agent shows, PEM."},
		{key: "upstream.key", value: path(&c.Upstream.Key), doc: "Its key, PEM."},
		{key: "upstream.ca", value: path(&c.Upstream.CA), doc: "Authorities that the control plane's certificate must come from, PEM."},
		{key: "upstream.server_name", value: scalarOf(&c.Upstream.ServerName, hostCodec), doc: "Name in the control plane's certificate. Empty: the host of the address."},
		{key: "upstream.heartbeat", value: duration(&c.Upstream.Heartbeat, time.Second, time.Hour), doc: "Time between two reports of the host."},

		{key: "metrics.listen", value: scalarOf(&c.Metrics.Listen, listenCodec), doc: "Address and port of GET /metrics, plain HTTP for whoever can connect, such as 127.0.0.1:9476. Dynos cannot. Empty: none."},

		{key: "containerd.address", value: path(&c.Containerd.Address), doc: "containerd's socket."},
		{key: "containerd.namespace", value: scalarOf(&c.Containerd.Namespace, nameCodec), doc: "containerd namespace of the dynos; dynod takes everything in it for its own."},
		{key: "containerd.cgroup_parent", value: scalarOf(&c.Containerd.CgroupParent, cgroupCodec), doc: "Cgroup above those of the dynos, from the root of the hierarchy. Under systemd one that it has delegated, as it has the default to dynos.service."},
		{key: "containerd.runtime", value: oneOf(&c.Containerd.Runtime, "auto", "runc", "crun"), doc: "OCI runtime that makes containers. auto: crun if it is installed and the host has cgroup v2 alone, as crun needs; otherwise runc."},
		{key: "containerd.init", value: path(&c.Containerd.Init), doc: "The dyno-init binary, process 1 of every dyno."},
	}
}

func (c *Config) dynoSettings() []*setting {
	return []*setting{
		{key: "network.block", value: scalarOf(&c.Network.Block, blockCodec), doc: "Addresses of dynos: a /30 for each slot. Must not be in use elsewhere in the host's network."},
		{key: "network.first_host_port", value: whole(&c.Network.FirstHostPort, 1024, 65535), doc: "Host port that leads to $PORT of slot 0; slot n has the n-th port after it."},
		{key: "network.listen_interfaces", value: list(&c.Network.ListenInterfaces, linkCodec), doc: "Interfaces of the host on which dynos are reached. Empty: all."},
		{key: "network.routed", value: boolean(&c.Network.Routed), doc: "The network outside routes block to this host, such as an EC2 prefix: dynos show their own addresses there, and $PORT is open at them too."},
		{key: "network.closed_ports", value: list(&c.Network.ClosedPorts, wholeOf[uint16](1, 65535)), doc: "TCP ports that dynos cannot reach anywhere."},
		{key: "network.host_ports", value: list(&c.Network.HostPorts, wholeOf[uint16](1, 65535)), doc: "TCP and UDP ports of the host that dynos reach, such as 53 where the host answers for names."},
		{key: "network.nameservers", value: list(&c.Network.Nameservers, addrCodec), doc: "Name servers of dynos. Empty: the host's own (with systemd-resolved, those that it asks) at the agent's start or reload, without loopback addresses, which a dyno cannot reach.", live: true},

		{key: "network.pool", value: whole(&c.Network.Pool, 0, 256), doc: "Networks made ahead of orders; busy times make it up to 8 times as many. 0: none."},

		{key: "artifacts.stacks", value: named{&c.Artifacts.Stacks}, doc: "Stack images of slug dynos by name: registry reference, or absolute path of an OCI archive."},
		{key: "artifacts.allow_file_urls", value: boolean(&c.Artifacts.AllowFileURLs), doc: "Orders may name files of this host: file:// slugs and OCI archives by path. For tests."},
		{key: "artifacts.allow_http_urls", value: boolean(&c.Artifacts.AllowHTTPURLs), doc: "Orders may name slugs by http:// URLs. For tests."},
		{key: "artifacts.plain_http_registries", value: list(&c.Artifacts.PlainHTTPRegistries, wordCodec), doc: "Registries (host or host:port) that are spoken to without TLS."},
		{key: "artifacts.registry_hosts_dir", value: path(&c.Artifacts.RegistryHostsDir), doc: "Where registries have mirrors and certificates: containerd's hosts.toml, in a directory for each registry. Empty: none."},
		{key: "artifacts.max_slug_bytes", value: bytes(&c.Artifacts.MaxSlugBytes, mib, 1<<40), doc: "Largest slug, compressed."},
		{key: "artifacts.max_unpacked_bytes", value: bytes(&c.Artifacts.MaxUnpackedBytes, mib, 1<<42), doc: "Largest slug, unpacked."},
		{key: "artifacts.max_unused", value: duration(&c.Artifacts.MaxUnused, 0, 10*365*24*time.Hour), doc: "Time after which slugs and images go that no dyno uses. 0s: never.", live: true},
		{key: "artifacts.min_free_percent", value: whole(&c.Artifacts.MinFreePercent, 0, 90), doc: "Room on the disks of slugs and images: below it, those go that no dyno uses, the one used longest ago first.", live: true},

		{key: "logs.spool_bytes", value: bytes(&c.Logs.SpoolBytes, mib, 1<<40), doc: "Most undelivered output kept for one dyno; what goes beyond it is dropped, and counted."},
		{key: "logs.host_spool_bytes", value: bytes(&c.Logs.HostSpoolBytes, 0, 1<<44), doc: "Most output kept for all dynos together. When half of it is used, the other half is shared out among them. 0: no bound."},
		{key: "logs.reserve_bytes", value: bytes(&c.Logs.ReserveBytes, 0, 1<<44), doc: "Room on the spool's disk that output never takes."},
		{key: "logs.ingest_bytes_per_second", value: bytes(&c.Logs.IngestBytesPerSecond, 0, 1<<40), doc: "Most output taken from one dyno in a second, after a burst of four times as much; the rest is dropped, and counted. 0: no bound."},
		{key: "logs.keep_bytes", value: bytes(&c.Logs.KeepBytes, 0, 1<<40), doc: "Delivered output kept for one dyno, for dynoctl logs. At most half of spool_bytes."},
		{key: "logs.sink_ca", value: path(&c.Logs.SinkCA), doc: "Authorities that certificates of log sinks may come from besides the system's, PEM."},

		{key: "attach.rendezvous_ca", value: path(&c.Attach.RendezvousCA), doc: "Authorities that certificates of rendezvous servers may come from besides the system's, PEM. Empty: none."},

		{key: "defaults.size", value: scalarOf(&c.Defaults.Size, nameCodec), doc: "Size of a dyno.", live: true},
		{key: "defaults.port", value: whole(&c.Defaults.Port, 1024, 65535), doc: "$PORT.", live: true},
		{key: "defaults.boot_timeout", value: duration(&c.Defaults.BootTimeout, time.Second, time.Hour), doc: "Time that a web dyno has to listen on $PORT.", live: true},
		{key: "defaults.grace", value: duration(&c.Defaults.Grace, 0, time.Hour), doc: "Time from SIGTERM to SIGKILL.", live: true},
		{key: "defaults.keep_finished", value: duration(&c.Defaults.KeepFinished, 0, 30*24*time.Hour), doc: "Time that record and output of a dyno that ended are kept at least.", live: true},
		{key: "defaults.crash_delays", value: list(&c.Defaults.CrashDelays, durationCodec(0, 30*24*time.Hour)), doc: "Pauses after the first, second, … crash of a dyno whose order has a restart policy with backoff; the last repeats.", live: true},
		{key: "defaults.crash_reset_after", value: duration(&c.Defaults.CrashResetAfter, time.Second, 30*24*time.Hour), doc: "Time that such a dyno has to be up to have its earlier crashes forgotten.", live: true},
	}
}

// sizeSettings are the rows of one size.
func sizeSettings(name string, s *Size) []*setting {
	key := "sizes." + name + "."
	return []*setting{
		{key: key + "memory", value: bytes(&s.Memory, 16*mib, 1<<44), doc: "Memory quota.", live: true},
		{key: key + "swap", value: boolean(&s.Swap), doc: "May swap beyond the quota, where the host has swap.", live: true},
		{key: key + "r15_percent", value: whole(&s.R15Percent, 101, 1000), doc: "Memory and swap, in percent of the quota, at which a dyno is killed (R15); the room in swap ends there.", live: true},
		{key: key + "cpu_weight", value: whole(&s.CPUWeight, 1, 10000), doc: "Relative share of CPU time when CPUs are busy; 100 is the share of a small dyno.", live: true},
		{key: key + "pids", value: whole(&s.Pids, 8, 4194304), doc: "Most processes and threads together.", live: true},
		{key: key + "nofile", value: whole(&s.NoFile, 64, 1<<20), doc: "Most open files of a process.", live: true},
		{key: key + "disk", value: bytes(&s.Disk, 0, 1<<50), doc: "What a dyno may write to disk, where the file system of state_dir has project quotas. 0: no bound.", live: true},
		{key: key + "memory_high", value: whole(&s.MemoryHigh, 0, 100), doc: "Memory, in percent of the quota, above which a dyno is slowed down while the kernel takes memory back; cgroup v2 only. 0: none.", live: true},
		{key: key + "io_weight", value: whole(&s.IOWeight, 0, 10000), doc: "Relative share of a busy disk, 100 is usual; cgroup v2 only, and for disks whose io.cost.qos is switched on. 0: the kernel's default.", live: true},
		{key: key + "io_bandwidth", value: bytes(&s.IOBandwidth, 0, 1<<40), doc: "Traffic with the disk of state_dir in a second, each way; on cgroup v1 reads and direct writes alone. 0: no limit.", live: true},
		{key: key + "io_operations", value: whole(&s.IOOperations, 0, 1<<32), doc: "Reads of that disk in a second, and as many writes. 0: no limit.", live: true},
		{key: key + "bandwidth", value: bytes(&s.Bandwidth, 0, 1<<40), doc: "Network traffic in a second, each way. 0: no limit."},
		{key: key + "connections", value: whole(&s.Connections, 0, 1<<20), doc: "Most connections that it has opened, until the host forgets them. 0: no limit."},
		{key: key + "connection_rate", value: whole(&s.ConnectionRate, 0, 1<<20), doc: "Most connections that it opens in a second. 0: no limit."},
	}
}

// policySettings are the rows of one policy.
func policySettings(name string, p *Policy) []*setting {
	key := "network.policies." + name + "."
	return []*setting{
		{key: key + "allow", value: list(&p.Allow, destinationCodec), doc: "The only networks that are open, each whole or with a TCP and UDP port. Empty: all."},
		{key: key + "deny", value: list(&p.Deny, destinationCodec), doc: "Networks that are closed even so, written alike."},
	}
}
