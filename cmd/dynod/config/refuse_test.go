package config_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/dynod/dynod/cmd/dynod/config"
)

func TestRefused(t *testing.T) {
	for _, c := range []struct {
		name, file string
		want       []string
	}{
		{"unknown key in a section", "\n[network]\n  blok = \"10.0.0.0/8\"", []string{
			`config.toml:3:3: unknown key "network.blok"; did you mean "network.block"?`,
		}},
		{"key without its section", "block = \"10.0.0.0/8\"", []string{
			`config.toml:1:1: unknown key "block"; did you mean "network.block"?`,
		}},
		{"nothing like it", "frobnicate = true", []string{`config.toml:1:1: unknown key "frobnicate"`}},
		{"unknown section", "[netork]\nblock = \"10.0.0.0/8\"\n", []string{
			`config.toml:1:2: unknown section [netork]; did you mean "network"?`,
		}},
		{"dotted unknown section", "netork.block = \"10.0.0.0/8\"\n", []string{
			`config.toml:1:1: unknown section [netork]; did you mean "network"?`,
		}},
		{"in the order of lines", "[log]\nb = 1\nd = 2\na = 3\ne = 4\nc = 5\n[api]\nz = 6\n", []string{
			`config.toml:2:1: unknown key "log.b"`,
			`config.toml:3:1: unknown key "log.d"`,
			`config.toml:4:1: unknown key "log.a"`,
			`config.toml:5:1: unknown key "log.e"`,
			`config.toml:6:1: unknown key "log.c"`,
			`config.toml:8:1: unknown key "api.z"`,
		}},
		{"inline table", "log = { levl = \"info\" }", []string{
			`config.toml:1:9: unknown key "log.levl"; did you mean "log.level"?`,
		}},
		{"section as a value", "network = 3", []string{`config.toml:1:1: network must be a section, [network]`}},
		{"array of sections", "[[network]]\n", []string{`config.toml:1:3: network must be a section, [network]`}},
		{"key of a size", "[sizes.eco]\nmemroy = 1\n", []string{
			`config.toml:2:1: unknown key "sizes.eco.memroy"; did you mean "sizes.eco.memory"?`,
		}},
		{"name of a size", "[sizes.\"a b\"]\nmemory = \"1GiB\"\n", []string{
			`config.toml:1:8: "a b" is no name for a size: letters, digits, dashes and underscores`,
		}},
		{"little disk", "[sizes.eco]\ndisk = 5\n", []string{`sizes.eco.disk: must be 0 or at least 1MiB`}},
		{"no schedule", "[defaults]\ncrash_delays = []\n", []string{`config.toml:2:1: defaults.crash_delays = []: must have 1 to 100 items`}},
		{"name of a policy", "[network.policies.\"a b\"]\nallow = []\n", []string{
			`config.toml:1:19: "a b" is no name for a policy: letters, digits, dashes and underscores`,
		}},
		{"own size without memory", "[sizes.mine]\npids = 10\n", []string{`sizes.mine.memory: a size of your own needs it`}},
		{"key given twice", "[log]\nlevel = \"info\"\nlevel = \"warn\"\n", []string{
			`config.toml:3:1: key level is already defined`,
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := load(t, c.file, nil)
			problems(t, err, c.want...)
		})
	}
}

func TestBadValues(t *testing.T) {
	for _, c := range []struct{ line, want string }{
		{`state_dir = "var"`, `must be an absolute path without //, . or .. in it or a slash at its end`},
		{`state_dir = "/var/../x"`, `must be an absolute path without //, . or .. in it or a slash at its end`},
		{`host_name = "a b"`, `must be a host name`},
		{`host_name = 3`, `must be written as a string in quotes`},
		{`log.format = "xml"`, `must be one of auto, text, json, journal`},
		{`log.level = "INFO"`, `must be one of debug, info, warn, error`},
		{`host.max_dynos = 0`, `must be a whole number from 1 to 16384`},
		{`host.max_dynos = "4"`, `must be written as a plain integer`},
		{`host.max_dynos = 4.5`, `must be written as a plain integer`},
		{`host.memory_reserve = "lots"`, `must be a size such as "512MiB" from 0B to 1TiB`},
		{`host.memory_reserve = -1`, `must be a size such as "512MiB" from 0B to 1TiB`},
		{`host.memory_reserve = "99999999PiB"`, `must be a size such as "512MiB" from 0B to 1TiB`},
		{`host.memory_reserve = true`, `must be written as a string in quotes or a plain integer`},
		{`host.user_namespace = "on"`, `must be one of required, off`},
		{`host.cloud = "gcp"`, `must be one of auto, ec2, none`},
		{`notices.rebalance = "nothing"`, `must be one of report, cordon, drain`},
		{`host.first_uid = 0`, `must be a whole number from 65536 to 4294901759`},
		{`api.socket_uids = 0`, `must be a list in square brackets`},
		{`api.socket_uids = [-1]`, `item "-1" must be a whole number from 0 to 4294967294`},
		{`api.socket_uids = ["root"]`, `every item must be written as a plain integer`},
		{`api.listen = "7070"`, `must be host:port, with a number for the port`},
		{`api.listen = "localhost:grpc"`, `must be host:port, with a number for the port`},
		{`api.allowed_clients = [""]`, `item "" must not be empty, nor hold spaces or commas`},
		{`upstream.address = "unix://plane.sock"`, `must be an absolute path without //, . or .. in it or a slash at its end`},
		{`upstream.heartbeat = 10`, `must be written as a string in quotes`},
		{`upstream.heartbeat = "10"`, `must be a duration such as "30s" from 1s to 1h`},
		{`containerd.namespace = ""`, `must be 1 to 63 letters, digits, dots, dashes or underscores`},
		{`containerd.cgroup_parent = "/"`, `must not be the root of the hierarchy`},
		{`network.block = "10.0.0.1/8"`, `must be an IPv4 network such as "172.16.0.0/12", /30 or larger, with no bits set after its length`},
		{`network.block = "fd00::/8"`, `must be an IPv4 network such as "172.16.0.0/12", /30 or larger, with no bits set after its length`},
		{`network.nameservers = ["127.0.0.53"]`, `item "127.0.0.53" must be an IPv4 address that a dyno can reach, so neither loopback nor link-local`},
		{`artifacts.allow_file_urls = "yes"`, `must be written as true or false`},
		{`artifacts.stacks = "x"`, `must be a table of name = "value"`},
		{`artifacts.stacks = { x = 1 }`, `item "x" must be a string in quotes`},
		{`artifacts.stacks = { x = "./x.tar" }`, `item "x" must be a registry reference, or the absolute path of an OCI archive`},
		{`artifacts.stacks = { "x y" = "/x.tar" }`, `name "x y" must be 1 to 63 letters, digits, dots, dashes or underscores`},
		{`network.policies.x.deny = ["10.0.0.1/8"]`, `item "10.0.0.1/8" must be an IPv4 network with no bits set after its length, such as "10.0.0.0/8", or with a port, "10.0.0.0/8:5432"`},
		{`network.policies.x.allow = ["10.0.0.0/8:0"]`, `item "10.0.0.0/8:0" must be an IPv4 network with no bits set after its length, such as "10.0.0.0/8", or with a port, "10.0.0.0/8:5432"`},
		{`network.listen_interfaces = ["a b"]`, `item "a b" must be the name of an interface, at most 15 bytes`},
		{`sizes.eco.memory = "1MiB"`, `must be a size such as "512MiB" from 16MiB to 16TiB`},
	} {
		t.Run(c.line, func(t *testing.T) {
			_, err := load(t, c.line, nil)
			key, val, _ := strings.Cut(c.line, " = ")
			if strings.HasPrefix(val, "{") {
				val = "{…}"
			}
			column := strings.LastIndexByte(key, '.') + 2 // of the key's last part, counted from 1
			problems(t, err, fmt.Sprintf("config.toml:1:%d: %s = %s: %s", column, key, val, c.want))
		})
	}
}

func TestSettingsThatDoNotFit(t *testing.T) {
	long := "/" + strings.Repeat("x", 100)
	for _, c := range []struct {
		name, file string
		want       []string
	}{
		{"block too small", "[network]\nblock = \"10.0.0.0/24\"", []string{
			`config.toml:2:1: network.block = "10.0.0.0/24": has room for 64 dynos, fewer than host.max_dynos + host.resting_slots = 1280`,
		}},
		{"block reserved", "[network]\nblock = \"169.254.0.0/16\"", []string{
			`config.toml:2:1: network.block = "169.254.0.0/16": must not overlap 169.254.0.0/16`,
		}},
		{"too few ports", "[network]\nfirst_host_port = 65500", []string{
			`config.toml:2:1: network.first_host_port = 65500: leaves 36 ports, fewer than host.max_dynos + host.resting_slots = 1280`,
		}},
		{"too few ids", "[host]\nfirst_uid = 4294900000", []string{
			`config.toml:2:1: host.first_uid = 4294900000: leaves too few ids for host.max_dynos + host.resting_slots = 1280 times 65536`,
		}},
		{"TCP without certificates", "[api]\nlisten = \":7070\"\ncert = \"/c\"", []string{
			`config.toml:2:1: api.listen = ":7070": needs api.key as well`,
			`config.toml:2:1: api.listen = ":7070": needs api.ca as well`,
			`config.toml:2:1: api.listen = ":7070": needs api.allowed_clients as well`,
		}},
		{"upstream without certificates", "[upstream]\naddress = \"plane:1\"\ncert = \"/c\"\nkey = \"/k\"", []string{
			`config.toml:2:1: upstream.address = "plane:1": needs upstream.ca as well`,
		}},
		{"metrics for dynos", "[metrics]\nlisten = \":9476\"\n[network]\nhost_ports = [53, 9476]", []string{
			`config.toml:2:1: metrics.listen = ":9476": its port is one of network.host_ports, which dynos reach`,
		}},
		{"metrics for dynos, written otherwise", "[metrics]\nlisten = \":09476\"\n[network]\nhost_ports = [9476]", []string{
			`config.toml:2:1: metrics.listen = ":09476": its port is one of network.host_ports, which dynos reach`,
		}},
		{"doors on ports of dynos", "[api]\nlisten = \":21279\"\ncert = \"/c\"\nkey = \"/k\"\nca = \"/a\"\nallowed_clients = [\"p\"]\n[metrics]\nlisten = \"127.0.0.1:020000\"", []string{
			`config.toml:2:1: api.listen = ":21279": its port leads to dynos, as 20000 to 21279 do: move it, or network.first_host_port`,
			`config.toml:8:1: metrics.listen = "127.0.0.1:020000": its port leads to dynos, as 20000 to 21279 do: move it, or network.first_host_port`,
		}},
		{"kept output", "[logs]\nspool_bytes = \"1MiB\"", []string{
			`default: logs.keep_bytes = "1MiB": must be at most half of logs.spool_bytes = "1MiB"`,
		}},
		{"default size", "[defaults]\nsize = \"big\"", []string{
			`config.toml:2:1: defaults.size = "big": must be one of the sizes: basic, eco, performance-2xl, performance-l, performance-l-ram, ` +
				`performance-m, performance-xl, private-m, private-s, shield-s, standard-1x, standard-2x`,
		}},
		{"no state directory", "state_dir = \"\"\nspool_dir = \"/s\"", []string{
			`config.toml:1:1: state_dir = "": must be an absolute path`,
		}},
		{"sockets too long", "run_dir = \"" + long + "\"", []string{
			`default: api.socket = "` + long + `/dynod.sock": must be at most 107 bytes, the longest path of a unix socket`,
			`config.toml:1:1: run_dir = "` + long + `": must be short enough that capture.sock in it is at most 107 bytes, the longest path of a unix socket`,
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := load(t, c.file, nil)
			problems(t, err, c.want...)
		})
	}
}

func TestUnknownVariable(t *testing.T) {
	_, err := load(t, "", []string{"DYNOD_NETWORK_BLOK=x", "DYNOD_SIZES_ECO_PIDS=3", "OTHER=1"})
	problems(t, err,
		`DYNOD_NETWORK_BLOK: unknown variable; did you mean "DYNOD_NETWORK_BLOCK"?`,
		`DYNOD_SIZES_ECO_PIDS: unknown variable`)
}

func TestListItemsOfTextSources(t *testing.T) {
	_, err := load(t, "", []string{"DYNOD_ARTIFACTS_STACKS=small"},
		config.Flag{Key: "network.closed_ports", Text: "25,x"})
	problems(t, err,
		`DYNOD_ARTIFACTS_STACKS: artifacts.stacks = "small": item "small" must be written as name=value`,
		`--network.closed_ports: network.closed_ports = "25,x": item "x" must be a whole number from 1 to 65535`)
}
